"""What is said of a file with a mistake in it."""

import pytest
from pydantic import BaseModel, SecretStr, ValidationError, field_validator

from fedsurg.errors import first_mistake


class Inner(BaseModel):
    port: int


class Outer(BaseModel):
    password: SecretStr
    parts: list[Inner]

    @field_validator("parts")
    @classmethod
    def _some(cls, parts: list[Inner]) -> list[Inner]:
        if not parts:
            raise ValueError("at least one is needed")
        return parts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"password": "x", "parts": [{"port": "ssh"}]}', "parts.0.port: Input should be a valid integer"),
        ('{"password": "x", "parts": []}', "parts: at least one is needed"),
        ('{"password": 4711, "parts": []}', "password: Input should be a valid string"),
        ('{"password": "x"', "Invalid JSON: EOF"),
    ],
)
def test_a_mistake_is_one_line_without_the_value_found(text: str, said: str) -> None:
    with pytest.raises(ValidationError) as problem:
        Outer.model_validate_json(text)
    line = first_mistake(problem.value)
    assert line.startswith(said)
    assert "\n" not in line and "4711" not in line

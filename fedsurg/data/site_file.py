"""`site.toml`: what a hospital says about its own folder."""

import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from fedsurg.errors import DataError

SITE_FILE = "site.toml"

MaskValue = Annotated[int, Field(ge=0, le=255)]
MaskValues = Annotated[
    tuple[MaskValue, ...], BeforeValidator(lambda given: (given,) if isinstance(given, int) else given)
]


class SiteFile(BaseModel):
    """The keys of `site.toml`; an unknown key is an error.

    A name in `mask_values` is a class of the study, a part that the study includes in a class, or a
    *whole*: a name for several classes at once, spelt out in `unions`. A name may have several values,
    `tool = [1, 2]`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    procedure: Annotated[str, Field(min_length=1)]
    frame_rate_hz: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # 0: single frames, no video
    simulated: bool = False
    missing: tuple[str, ...] = ()  # study classes that this site never labels
    ignore_values: tuple[MaskValue, ...] = ()  # mask values that say "not labelled": no loss, no score
    mask_values: dict[str, MaskValues]
    unions: dict[str, tuple[str, ...]] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        # TOML puts a key that stands below a table header into that table.
        swallowed = sorted(set(self.mask_values) & set(SiteFile.model_fields))
        if swallowed:
            raise ValueError(f"mask_values holds {swallowed[0]!r}; move that key above [mask_values]")
        if not self.mask_values:
            raise ValueError("mask_values is empty; give each labelled class its value in the masks")
        names = self.names_of_values
        for value in self.ignore_values:
            if value in names:
                raise ValueError(f"ignore_values and mask_values.{names[value]} both hold {value}")
        return self

    @property
    def names_of_values(self) -> dict[int, str]:
        """Mask value -> name, without the ignored values.

        Raises:
            ValueError: one value stands for two names.
        """
        names: dict[int, str] = {}
        for name, values in self.mask_values.items():
            for value in values:
                if names.get(value, name) != name:
                    raise ValueError(f"mask_values: {value} stands for both {names[value]!r} and {name!r}")
                names[value] = name
        return names


def read_site_file(folder: Path) -> SiteFile:
    """Read and validate `folder`/site.toml.

    Raises:
        DataError: no such folder or file, not TOML, or a key that is missing, unknown or of the wrong type.
    """
    path = folder / SITE_FILE
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that holds {SITE_FILE} and the manifest")
    try:
        return SiteFile.model_validate(tomllib.loads(path.read_text("utf-8-sig")))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; every site folder needs one (name, procedure, mask_values)") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{path}: cannot be read ({problem})") from problem
    except tomllib.TOMLDecodeError as problem:
        raise DataError(f"{path}: not valid TOML: {problem}") from problem
    except ValidationError as problem:
        raise DataError(f"{path}: {_first_line(problem)}") from None


def _first_line(problem: ValidationError) -> str:
    """The first of pydantic's complaints as `key: what is wrong, found ...`."""
    first = problem.errors(include_url=False)[0]
    key = ".".join(part for part in first["loc"] if isinstance(part, str))
    match first["type"]:
        case "missing":
            return f"{key}: missing; add it"
        case "extra_forbidden":
            return f"{key}: unknown key; allowed are {', '.join(SiteFile.model_fields)}"
        case "value_error":
            return first["msg"].removeprefix("Value error, ")
        case _:
            return f"{key}: {first['msg']}, found {first['input']!r}"

"""Reads JSON that a run has written into records; without pandas, so that a run can be followed at little cost."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from fedsurg.errors import RunError, first_mistake
from fedsurg.report.records import Round

T = TypeVar("T")


def read_rounds(file: Path) -> list[Round]:
    """The rounds of a `history.jsonl`, in order. A last line without its newline was cut off, and is left out.

    Raises:
        RunError: as `text_of` and `parsed`.
    """
    if not file.is_file():
        return []
    whole, _, _ = text_of(file).rpartition("\n")
    kind = TypeAdapter(Round)
    return [parsed(kind, line, file, number) for number, line in enumerate(whole.split("\n"), 1) if line.strip()]


def text_of(file: Path) -> str:
    """What is written in a file.

    Raises:
        RunError: it cannot be read, or is no text.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise RunError(f"{file}: cannot be read ({problem}); the file is damaged") from problem


def parsed(kind: TypeAdapter[T], text: str, file: Path, line: int | None = None) -> T:
    """Read JSON into `kind`.

    Raises:
        RunError: naming the file, the line and the first field that is wrong.
    """
    try:
        return kind.validate_json(text)
    except ValidationError as problem:
        place = f"{file}" if line is None else f"{file}, line {line}"
        raise RunError(
            f"{place}: {first_mistake(problem)}; the file is damaged or was not written by fedsurg"
        ) from problem

"""The form of an exchanged file: JSON that says what it is, a body, and proofs over the body.

    {"fedsurg": "invitation", "version": 1, "body": {...}, "proofs": {"federation": "..."}}

What is signed is the kind, the version and the body in canonical JSON, so a proof for one kind is none for another.
"""

import json
import tomllib
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fedsurg.errors import UnreadableError, first_mistake
from fedsurg.files import canonical_json

VERSION = 1
MAX_FILE_BYTES = 65536  # an admission, the largest, has 5,000; nothing longer is parsed
MAX_PROOFS = 3  # a request, the richest, has three

SUFFIX = {"invitation": ".invite", "request": ".request", "admission": ".admission"}  # how the files are named


class Strict(BaseModel):
    """A model that takes no unknown field, no other type, and no change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Body = TypeVar("Body", bound=Strict)


def signed_bytes(kind: str, body: Strict) -> bytes:
    """What the proofs of a file are made over."""
    return f"fedsurg {kind} {VERSION}\n".encode() + canonical_json(body.model_dump(mode="json")).encode()


def envelope(kind: str, body: Strict, proofs: dict[str, str]) -> str:
    """The text of a file."""
    content = {"fedsurg": kind, "version": VERSION, "body": body.model_dump(mode="json"), "proofs": proofs}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def open_envelope(path: Path, kind: str, body: type[Body]) -> tuple[Body, dict[str, str]]:
    """Body and proofs of a file of this kind. The proofs are strings and not yet checked.

    Raises:
        UnreadableError: no such file, too long, not JSON, of another kind or version, or with a wrong field.
    """
    content = _read_json(path, kind)
    if content.get("fedsurg") != kind:
        found = content.get("fedsurg")
        said = f"the {found}" if found in list(SUFFIX) else "no file of fedsurg"
        raise UnreadableError(
            f"{path}: this is {said}, not the {kind}; give the file whose name ends in {SUFFIX[kind]}"
        )
    if content.get("version") != VERSION:
        raise UnreadableError(
            f"{path}: {kind} of version {content.get('version')!r}, this fedsurg reads version {VERSION}; install the "
            "same version of fedsurg at both ends"
        )
    given = content.get("proofs")
    if set(content) != {"fedsurg", "version", "body", "proofs"} or not _are_proofs(given):
        raise UnreadableError(f"{path}: not a whole {kind}; ask for the file again")
    return parse_model(json.dumps(content["body"]), body, path), given


def read_settings(path: Path, model: type[Body], where_from: str) -> Body:
    """A model from the TOML file `path`, which people may edit.

    Args:
        where_from: what to do when there is no such file.

    Raises:
        UnreadableError: no such file, not TOML, or a key that is missing, unknown or not allowed.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UnreadableError(f"{path}: no such file; {where_from}") from None
    except (OSError, ValueError) as problem:
        raise UnreadableError(f"{path}: cannot be read: {problem}; correct it by hand") from problem
    return parse_model(json.dumps(content, default=str), model, path, "correct it by hand")


def parse_model(text: str, model: type[Body], path: Path, advice: str = "ask for it again") -> Body:
    """A model from the JSON text of the file `path`.

    Raises:
        UnreadableError: a field is missing, unknown, of another type or not allowed; the message names it.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as problem:
        raise UnreadableError(f"{path}: {first_mistake(problem)}; the file is damaged, {advice}") from None


def _read_json(path: Path, kind: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        content = json.loads(data) if len(data) <= MAX_FILE_BYTES else None
    except OSError as problem:
        raise UnreadableError(f"{path}: cannot be read ({problem.strerror}); check the path of the {kind}") from problem
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UnreadableError(f"{path}: no {kind} of fedsurg, or a part of one; ask for the file again")
    return content


def _are_proofs(given: Any) -> TypeGuard[dict[str, str]]:
    if not isinstance(given, dict) or len(given) > MAX_PROOFS:
        return False
    return all(isinstance(value, str) and value.isascii() for value in given.values())

"""The ledger of a vault: which file holds which name of which study, sealed like everything in the vault."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from fedsurg.errors import VaultError
from fedsurg.files import canonical_json, write_atomic
from site_client.sealing import seal, unseal
from site_client.vault_key import FORMAT

SUFFIX = ".sealed"
LEDGER = f"ledger{SUFFIX}"


class Entry(BaseModel):
    """One name in the ledger."""

    model_config = ConfigDict(extra="forbid")

    file: str  # below the study's folder
    sha256: str  # of what is sealed in it
    round: int


class StudyEntry(BaseModel):
    """One study in the ledger: the round of its first private state (0: none yet), and its files."""

    model_config = ConfigDict(extra="forbid")

    first: int = 0
    files: dict[str, Entry] = {}


Ledger = dict[str, StudyEntry]


def read_ledger(folder: Path, key: bytes) -> Ledger:
    """The ledger of a vault.

    Raises:
        VaultError: it is missing, damaged or sealed under another key.
    """
    path = folder / LEDGER
    content = unseal(key, bytes_of(path), path, header_of("", "", "ledger", 0))
    return {study: StudyEntry.model_validate(entry) for study, entry in json.loads(content).items()}


def write_ledger(folder: Path, key: bytes, ledger: Ledger) -> None:
    """Replace it, whole or not at all."""
    content = canonical_json({study: entry.model_dump() for study, entry in ledger.items()}).encode()
    write_atomic(folder / LEDGER, seal(key, content, header_of("", "", "ledger", 0)), error=VaultError)


def header_of(study: str, site: str, name: str, number: int) -> dict[str, Any]:
    """What the header of a sealed file says, and is checked for."""
    return {"format": FORMAT, "study": study, "site": site, "name": name, "round": number}


def bytes_of(path: Path) -> bytes:
    """A file of the vault.

    Raises:
        VaultError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as problem:
        raise VaultError(
            f"{path}: belongs to the vault and cannot be read ({problem.strerror}); restore it from a backup"
        ) from problem

"""The key of a vault: where it comes from, and `vault.json`, which says so and holds nothing secret."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fedsurg.errors import VaultError, first_mistake
from fedsurg.files import write_atomic
from site_client.layout import PASSPHRASE
from site_client.sealing import OTHERS, Scrypt, key_id, key_of_passphrase, read_key_file

FORMAT = 1
FILE = "vault.json"


@dataclass(frozen=True)
class Secret:
    """What opens a vault: a key file, or a passphrase. One of the two."""

    key_file: Path | None = None
    passphrase: str = field(default="", repr=False)


class KeyFacts(BaseModel):
    """Which key: its name, and the file it is in or how it comes from a passphrase."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    key_file: str = ""
    scrypt: Scrypt | None = None


class VaultFile(KeyFacts):
    """`vault.json`; `next` is there while the key is being changed."""

    format: int = FORMAT
    next: KeyFacts | None = None


def read_vault_file(folder: Path) -> VaultFile:
    """`vault.json` of a vault.

    Raises:
        VaultError: it is missing or damaged.
    """
    path = folder / FILE
    try:
        found = VaultFile.model_validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        raise VaultError(f"{path}: is missing; make a vault with fedsurg site vault init, or restore it") from None
    except OSError as problem:
        raise VaultError(f"{path}: cannot be read ({problem.strerror}); restore it from a backup") from problem
    except ValidationError as problem:
        raise VaultError(f"{path}: {first_mistake(problem)}; it is damaged, restore it from a backup") from problem
    if found.format != FORMAT:
        raise VaultError(f"{path}: has format {found.format}, this version knows {FORMAT}; update fedsurg")
    return found


def write_vault_file(folder: Path, facts: VaultFile) -> None:
    """Replace it, whole or not at all."""
    write_atomic(folder / FILE, facts.model_dump_json(indent=1) + "\n", error=VaultError)


def facts_of(secret: Secret, scrypt: Scrypt | None = None) -> tuple[KeyFacts, bytes]:
    """A secret's key, and what `vault.json` says of it."""
    if secret.key_file:
        key = read_key_file(secret.key_file)
        return KeyFacts(key=key_id(key), key_file=str(secret.key_file.absolute())), key
    scrypt = scrypt or Scrypt.fresh()
    key = key_of_passphrase(secret.passphrase, scrypt)
    return KeyFacts(key=key_id(key), scrypt=scrypt), key


def key_for(folder: Path, facts: KeyFacts, secret: Secret | None) -> bytes:
    """The key of a vault.

    Raises:
        VaultError: it is not the one, or was not given.
    """
    if secret is None:
        if not facts.key_file:
            raise VaultError(
                f"{folder}: opens with a passphrase; put it in a file of mode 600 and name that with --passphrase-file "
                f"or in {PASSPHRASE}"
            )
        secret = Secret(Path(facts.key_file))
    if secret.key_file:
        key = read_key_file(secret.key_file)
    elif facts.scrypt:
        key = key_of_passphrase(secret.passphrase, facts.scrypt)
    else:
        raise VaultError(f"{folder}: opens with a key file, not with a passphrase; give it with --key-file")
    if key_id(key) != facts.key:
        given = secret.key_file or "the passphrase"
        raise VaultError(
            f"{folder}: {given} is not this vault's key ({key_id(key)}, it needs {facts.key}); give that one"
        )
    return key


def secret_of(key_file: Path | None, passphrase_file: Path | None) -> Secret | None:
    """What the options say; without them what the environment says; None: what the vault itself remembers."""
    if key_file:
        return Secret(key_file)
    given = passphrase_file or (Path(os.environ[PASSPHRASE]) if os.environ.get(PASSPHRASE) else None)
    return Secret(passphrase=passphrase_in(given)) if given else None


def passphrase_in(path: Path) -> str:
    """The passphrase in a file.

    Raises:
        VaultError: others may read it, or it cannot be read.
    """
    try:
        if path.stat().st_mode & OTHERS:
            raise VaultError(f"{path}: others than its owner may read the passphrase; chmod 600 {path}")
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as problem:
        raise VaultError(f"{path}: the passphrase cannot be read ({problem}); give its file") from problem

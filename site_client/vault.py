"""The vault: a hospital's private state and models, sealed on its own disk, by study and round.

    vault.json          which key, and how a passphrase becomes one; nothing secret
    ledger.sealed       what is in the vault: file, SHA-256 and round of every name of every study
    STUDY/NAME-*.sealed
    STUDY/aside/        states that the server lost; never used again, never deleted

A file counts when the ledger names it. So an older copy put in its place is an error, like a missing one, and what a
crash left half-done is never mistaken for a state. A new file gets a new name and replaces the old one only when the
ledger says so.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsurg.audit.log import AuditLog, Event
from fedsurg.errors import VaultError
from fedsurg.files import file_lock, sync_folder, write_atomic
from site_client.ledger import (
    SUFFIX,
    Entry,
    Ledger,
    StudyEntry,
    bytes_of,
    header_of,
    read_ledger,
    write_ledger,
)
from site_client.sealing import key_id, make_key_file, read_header, seal, unseal
from site_client.vault_key import Secret, VaultFile, facts_of, key_for, read_vault_file, write_vault_file

if TYPE_CHECKING:  # torch is loaded where tensors are written or read: to open a vault takes no half gigabyte
    from torch import Tensor

    from site_client.site_files import Content

PRIVATE = "private/"  # names of states begin so: they say whether a study has begun here
_STUDY = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


class Vault:
    """An open vault. Several processes may use it at once; `open_vault` and `make_vault` give one.

    Args:
        folder: of the vault.
        key: that opens it.
        audit: where everything that happens to a state is written.
    """

    def __init__(self, folder: Path, key: bytes, audit: AuditLog) -> None:
        self.folder, self.audit, self._key = folder, audit, key

    def files(self, study: str, site: str) -> "SealedFiles":
        """The files of one site in one study.

        Raises:
            VaultError: the digest cannot be a folder's name.
        """
        if not _STUDY.fullmatch(study):
            raise VaultError(f"{study[:40]!r} is no digest of a study")
        return SealedFiles(self, study, site)

    def studies(self) -> list[str]:
        """Digests of the studies that have something here, sorted."""
        with self.locked() as ledger:
            return sorted(ledger)

    @contextlib.contextmanager
    def locked(self) -> Iterator[Ledger]:
        """The ledger, for one process at a time.

        Raises:
            VaultError: the ledger does not open, or the key was changed since this vault was opened.
        """
        with locked_vault(self.folder):
            facts = read_vault_file(self.folder)
            if facts.key != key_id(self._key) or facts.next:
                raise VaultError(
                    f"{self.folder}: the key is being changed, or was since this process began; restart it"
                )
            yield read_ledger(self.folder, self._key)

    def write_ledger(self, ledger: Ledger) -> None:
        """Make what a `locked` block decided last."""
        write_ledger(self.folder, self._key, ledger)

    def seal_file(self, path: Path, content: bytes, facts: Mapping[str, Any]) -> None:
        """Write one sealed file, whole or not at all."""
        write_atomic(path, seal(self._key, content, facts), error=VaultError)

    def open_file(self, path: Path, facts: Mapping[str, Any]) -> bytes:
        """The content of one sealed file."""
        return unseal(self._key, bytes_of(path), path, facts)

    def check(self) -> list[str]:
        """Open every file; what is wrong, one line each."""
        found = []
        with self.locked() as ledger:
            for study, entry in ledger.items():
                for name, one in entry.files.items():
                    try:
                        _open_entry(self, study, name, one, site=None)
                    except VaultError as problem:
                        found.append(str(problem))
        return found

    def forget(self, study: str) -> int:
        """Set aside all that the vault has of a study, on a person's word: its next round begins it anew.

        Raises:
            VaultError: the vault has nothing of it.
            AuditError: it cannot be logged; nothing was changed.
        """
        with self.locked() as ledger:
            if study not in ledger:
                raise VaultError(
                    f"{self.folder}: has nothing of study {study[:12]}; fedsurg site vault check lists all"
                )
            gone = ledger.pop(study).files
            self.audit.append(Event("private state forgotten", study=study, why="a person asked for it"))
            self.write_ledger(ledger)
            self._move_aside(study, [one.file for one in gone.values()])
        return len(gone)

    def _move_aside(self, study: str, files: Collection[str]) -> None:
        """Out of use, under names that are still free."""
        aside = self.folder / study / "aside"
        aside.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in files:
            path = self.folder / study / file
            with contextlib.suppress(FileNotFoundError):
                path.rename(aside / path.name)
        sync_folder(aside)


class SealedFiles:
    """The files of one site in one study, in a vault; see `SiteFiles`."""

    def __init__(self, vault: Vault, study: str, site: str) -> None:
        self._vault, self._study, self._site = vault, study, site
        self._folder = vault.folder / study

    def write(self, name: str, tensors: Mapping[str, "Tensor"], facts: Mapping[str, Any]) -> None:
        """Seal it, name it in the ledger, drop what it replaces: after a crash the old file counts, or the new one."""
        from fedsurg.tensor_file import tensor_bytes

        content, number = tensor_bytes(tensors, facts), int(facts.get("round", 0))
        digest = hashlib.sha256(content).hexdigest()
        with self._vault.locked() as ledger:
            mine = ledger.setdefault(self._study, StudyEntry())
            self._tidy(mine)
            file = f"{name.replace('/', '-')}-{os.urandom(4).hex()}{SUFFIX}"
            header = header_of(self._study, self._site, name, number)
            self._vault.seal_file(self._folder / file, content, header)
            replaced = mine.files.get(name)
            mine.files[name] = Entry(file=file, sha256=digest, round=number)
            if name.startswith(PRIVATE) and not mine.first:
                mine.first = number
            self._vault.write_ledger(ledger)
            if replaced:
                _unlink(self._folder / replaced.file)
        what = "private state sealed" if name.startswith(PRIVATE) else "model sealed"
        self._note(what, number, sha256=digest, bytes=len(content), facts={"name": name})

    def read(self, name: str) -> "Content":
        """Open it.

        Raises:
            VaultError: wrong key, one changed bit, an older copy, a missing file, or no such name.
        """
        from fedsurg.tensor_file import tensors_of

        with self._vault.locked() as ledger:
            entry = ledger.get(self._study, StudyEntry()).files.get(name)
            if not entry:
                raise VaultError(f"{self._folder}: the vault has no {name} of study {self._study[:12]}")
            content = _open_entry(self._vault, self._study, name, entry, site=self._site)
        return tensors_of(content, str(self._folder / entry.file))

    def names(self) -> list[str]:
        """The names of the ledger."""
        with self._vault.locked() as ledger:
            return sorted(ledger.get(self._study, StudyEntry()).files)

    def remove(self, names: Collection[str]) -> None:
        """Delete what newer states have replaced."""
        if not names:
            return
        with self._vault.locked() as ledger:
            gone = [ledger[self._study].files.pop(name).file for name in names]
            self._vault.write_ledger(ledger)
            for file in gone:
                _unlink(self._folder / file)

    def begin_anew(self, number: int, kept: Sequence[int]) -> None:
        """Refuse to begin a study anew that has begun here, except where the server goes back to its first round here.

        Raises:
            VaultError: naming the folder and what a person can do.
        """
        with self._vault.locked() as ledger:
            mine = ledger.get(self._study, StudyEntry())
        if mine.first and number > mine.first:
            raise VaultError(
                f"{self._folder}: this site began study {self._study[:12]} in round {mine.first} and has no private "
                f"state from before round {number} (it has {list(kept) or 'none'}); restore the vault from a backup, "
                f"or let the site begin anew with fedsurg site vault forget {self._study[:12]}"
            )

    def set_aside(self, names: Collection[str], why: str) -> None:
        """On the server's word, states go out of use; they stay on the disk, and the log says so."""
        with self._vault.locked() as ledger:
            mine = ledger[self._study]
            gone = [mine.files.pop(name) for name in names]
            if not any(name.startswith(PRIVATE) for name in mine.files):
                mine.first = 0
            self._vault.write_ledger(ledger)
            self._vault._move_aside(self._study, [entry.file for entry in gone])
        for name, entry in zip(names, gone, strict=True):
            self._note("private state set aside", entry.round, why=why, sha256=entry.sha256, facts={"name": name})

    def _tidy(self, mine: StudyEntry) -> None:
        """Files that no ledger names: left by a crash before the ledger was written, or put there by someone."""
        known = {entry.file for entry in mine.files.values()}
        unknown = [path.name for path in self._folder.glob(f"[!.]*{SUFFIX}") if path.name not in known]
        if unknown:
            self._vault._move_aside(self._study, unknown)
            self._note("unknown file set aside", 0, why="the ledger does not name it", facts={"files": unknown})

    def _note(self, what: str, number: int, **values: Any) -> None:
        self._vault.audit.append(Event(what, study=self._study, round=number, **values))


def make_vault(folder: Path, secret: Secret, audit: AuditLog) -> Vault:
    """A new vault; a key file that is not there yet is made.

    Raises:
        VaultError: there is one already, or it cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise VaultError(f"{folder}: holds a vault already; change its key with fedsurg site vault rekey")
    if secret.key_file and not secret.key_file.exists():
        make_key_file(secret.key_file)
    facts, key = facts_of(secret)
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_ledger(folder, key, {})
    write_vault_file(folder, VaultFile(**dict(facts)))
    audit.append(Event("vault made", facts={"key": facts.key}))
    return Vault(folder, key, audit)


def open_vault(folder: Path, audit: AuditLog, secret: Secret | None = None) -> Vault:
    """The vault in `folder`; without a `secret` by the key file that it was made with.

    Raises:
        VaultError: there is none, its key was not given or is another one, or its ledger does not open.
    """
    facts = read_vault_file(folder)
    if facts.next:
        raise VaultError(
            f"{folder}: a change of key was interrupted; finish it with fedsurg site vault rekey and the same two keys"
        )
    key = key_for(folder, facts, secret)
    read_ledger(folder, key)
    return Vault(folder, key, audit)


def _open_entry(vault: Vault, study: str, name: str, entry: Entry, *, site: str | None) -> bytes:
    """The content of a file of the ledger: sealed whole, for this place, and the newest."""
    path = vault.folder / study / entry.file
    if site is None:
        header, _ = read_header(bytes_of(path), path)
        site = str(header.get("site"))
    content = vault.open_file(path, header_of(study, site, name, entry.round))
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise VaultError(f"{path}: is an older copy than the one the ledger names; restore the newest from a backup")
    return content


def _unlink(path: Path) -> None:
    """Delete what nothing needs any more; if that fails, the next write sets it aside."""
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def locked_vault(folder: Path) -> Iterator[None]:
    """One process at a time; the lock goes with its holder."""
    if not folder.is_dir():
        raise VaultError(f"{folder}: there is no vault; make one with fedsurg site vault init")
    with file_lock(folder / "lock", error=VaultError):
        yield


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise VaultError(f"{folder}: cannot be written ({problem.strerror}); check space and permissions") from problem

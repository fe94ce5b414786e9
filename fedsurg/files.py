"""Files that are whole or absent, locks of files, plain values as text and their digests."""

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from fedsurg.errors import FedsurgError, RunError

FEWEST_CHARACTERS = 8  # of a digest that is given in part: 2^32 studies apart


def write_atomic(path: Path, content: bytes | str, *, error: type[FedsurgError] = RunError) -> None:
    """Write `content` to `path` so that a crash leaves the old file or the new one, never a part.

    A temporary file beside it is written, synced to disk and renamed. Parent folders are made. The file is readable
    by its owner alone: what is written here is private unless a person decides otherwise.

    Raises:
        error: the disk is full or the folder cannot be written; the previous file is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        sync_folder(path.parent)
    except OSError as problem:
        raise error(
            f"{path}: cannot be written ({problem.strerror or problem}); free some space or check permissions, "
            "the previous state is unchanged"
        ) from problem
    finally:
        with contextlib.suppress(OSError):  # after the rename there is none
            if temporary:
                Path(temporary).unlink()


def require_writable(path: Path, *, error: type[FedsurgError] = RunError) -> None:
    """Refuse a file that could not be written, before the long work that makes it.

    Raises:
        error: it is a folder, or the nearest folder above it that exists may not be written or is none.
    """
    try:
        folder = not path.name or path.is_dir()
        above = next((place for place in path.absolute().parents if place.exists()), path)
    except (OSError, ValueError) as problem:
        raise error(f"{path}: cannot be the name of a file ({problem}); give another one") from problem
    if folder:
        raise error(f"{path}: is a folder; give the name of a file in it")
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise error(f"{path}: cannot be written, as {above} cannot; choose another place or check permissions")


def sha256_of_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes; what reading it raises is not caught."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def try_lock(handle: int) -> bool:
    """Take the lock of an open file if it is free; it goes with its holder, however that ends."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def file_lock(path: Path, *, error: type[FedsurgError] = RunError) -> Iterator[None]:
    """Hold the lock of the file `path`, which is made where there is none; wait for whoever holds it.

    Raises:
        error: the file cannot be made.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as problem:
        raise error(f"{path.parent}: cannot be written ({problem.strerror}); check space and permissions") from problem
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def look_at(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file: a replaced one has another inode even within one tick of the clock. None: not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def toml_lines(values: Mapping[str, Any]) -> str:
    """Plain values as TOML, one `key = value` per line; those that are None are left out."""
    return "".join(f"{key} = {toml_value(value)}\n" for key, value in values.items() if value is not None)


def toml_value(value: Any) -> str:
    """A plain value as TOML writes it."""
    if isinstance(value, date):  # a time is one too
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_value(key)} = {toml_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    # JSON's own escapes of characters beyond the first 65,536 are two halves each, which TOML refuses
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a plain value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def begins(digest: str, word: str) -> bool:
    """Whether a person may mean `digest` by `word`: enough of its first characters."""
    return len(word) >= FEWEST_CHARACTERS and digest.startswith(word.lower())


def derived_seed(*parts: object) -> int:
    """A 63-bit seed that depends on all `parts` and on nothing else (not on process, order or time)."""
    text = canonical_json([str(part) for part in parts])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

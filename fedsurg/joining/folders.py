"""Private folders: made whole, read by their owner alone, changed by one command at a time."""

import contextlib
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fedsurg.errors import ExposedError, JoiningError
from fedsurg.files import file_lock, sync_folder, write_atomic

OTHERS = stat.S_IRWXG | stat.S_IRWXO


@contextlib.contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """A new folder, mode 0700, that appears under its name when the block is done, and not at all if it fails.

    Raises:
        JoiningError: `folder` holds something already, or cannot be made.
    """
    require_unused(folder)
    stage: Path | None = None
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(dir=folder.absolute().parent, prefix=f".{folder.name}."))
        yield stage
        stage.rename(folder.absolute())
        sync_folder(folder.absolute().parent)
    except OSError as problem:
        raise JoiningError(
            f"{folder}: cannot be made ({problem.strerror}); check free space and permissions, nothing was written"
        ) from problem
    finally:
        if stage:
            shutil.rmtree(stage, ignore_errors=True)  # after the rename there is none


def require_unused(folder: Path) -> None:
    """`folder` is not there yet, or empty.

    Raises:
        JoiningError: it holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise JoiningError(f"{folder}: exists already and is left as it is; choose another --dir")


def require_owner_only(path: Path) -> None:
    """No one but its owner may read, write or enter `path`.

    Raises:
        JoiningError: there is no such file or folder.
        ExposedError: its permissions are wider.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as problem:
        raise JoiningError(f"{path}: cannot be read ({problem.strerror}); check the path, and --dir") from problem
    if mode & OTHERS:
        wanted = "700" if path.is_dir() else "600"
        raise ExposedError(
            f"{path}: mode {mode:03o} lets others than its owner in; run chmod {wanted} {path} and find out who may "
            "have read it"
        )


def write_new(path: Path, content: str) -> None:
    """Write a file that is to be handed on; an existing one is kept.

    Raises:
        JoiningError: `path` exists or cannot be written.
    """
    require_free(path)
    write_atomic(path, content, error=JoiningError)


def require_free(path: Path) -> None:
    """There is nothing at `path` yet.

    Raises:
        JoiningError: there is.
    """
    if path.exists():
        raise JoiningError(f"{path}: exists already; remove it or choose another --out")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One command at a time changes `folder`; a second one waits, all are short.

    Raises:
        ExposedError, JoiningError: as `require_owner_only`; or the folder cannot be written.
    """
    require_owner_only(folder)
    with file_lock(folder / ".lock", error=JoiningError):
        yield

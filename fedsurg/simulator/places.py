"""Where results go: what a finished folder may take the place of, and private folders for what is not finished yet."""

import contextlib
import fcntl
import glob
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fedsurg.errors import SimulatorError
from fedsurg.files import try_lock
from fedsurg.stopping import stopped_by_exception

log = logging.getLogger("fedsurg.simulator")

UNFINISHED = ".partial"  # ending of the folders for what is not finished yet


def replaceable(out: Path) -> Path:
    """Where `out` really is: a finished folder takes the place of that one.

    Raises:
        SimulatorError: nothing can take its place.
    """
    out = out.resolve()
    if out == Path.cwd() or os.path.ismount(out):
        what = "is mounted there" if os.path.ismount(out) else "is the working directory"
        raise SimulatorError(f"{out}: {what}, and nothing can take its place; give the name of a folder in it")
    return out


@contextlib.contextmanager
def scratch_beside(out: Path) -> Iterator[Path]:
    """A new folder beside `out`, its owner's alone; it goes at the end, also of a run that is stopped.

    It is locked as long as its run lives. What a killed run left goes when the next one for the same `out` begins.

    Raises:
        SimulatorError: it cannot be made.
    """
    with stopped_by_exception():
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            remove_left_behind(out, letters=8)  # those of `mkdtemp`
            folder, handle = _locked_folder(out)
        except OSError as problem:
            raise SimulatorError(
                f"{out}: cannot be written ({problem.strerror or problem}); check permissions and free space"
            ) from problem
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)


def _locked_folder(out: Path) -> tuple[Path, int]:
    """The folder, and what holds its lock. It has the lock before it has the name that others remove."""
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".new"))
    handle = os.open(folder, os.O_RDONLY)
    wait_for(handle, folder)
    return folder.rename(folder.with_suffix(UNFINISHED)), handle


def wait_for(handle: int, place: Path) -> None:
    """Take the lock of an open folder. Who must wait for another process is told so; `place` is where both write."""
    with contextlib.suppress(OSError):  # a disk without locks: there nobody removes what others left, either
        if not try_lock(handle):
            log.warning("%s: another process writes the same there; waiting for it", place)
            fcntl.flock(handle, fcntl.LOCK_EX)


def remove_left_behind(out: Path, *, letters: int) -> None:
    """Remove the unfinished folders beside `out` in which nobody is at work, with names of so many letters."""
    for folder in out.parent.glob(f".{glob.escape(out.name)}.{'?' * letters}{UNFINISHED}"):
        with contextlib.suppress(OSError):  # of somebody else, or gone meanwhile
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if try_lock(handle):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)

"""Where results go: what a finished folder may take the place of, and private folders for what is not finished yet."""

import contextlib
import fcntl
import glob
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from fedsurg.errors import SimulatorError
from fedsurg.files import try_lock

UNFINISHED = ".partial"  # ending of the folders for what is not finished yet
STOPS = (signal.SIGTERM, signal.SIGHUP)  # an interrupt is a KeyboardInterrupt already


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
    with _stopped_by_exception():
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            _remove_left_behind(out)
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
    with contextlib.suppress(OSError):  # a disk without locks: there nobody removes what others left, either
        fcntl.flock(handle, fcntl.LOCK_EX)
    return folder.rename(folder.with_suffix(UNFINISHED)), handle


def _remove_left_behind(out: Path) -> None:
    for folder in out.parent.glob(f".{glob.escape(out.name)}.????????{UNFINISHED}"):
        with contextlib.suppress(OSError):  # of somebody else, or gone meanwhile
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if try_lock(handle):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


@contextlib.contextmanager
def _stopped_by_exception() -> Iterator[None]:
    """Signals that would end the process on the spot end it with an exception instead, so that it tidies up."""
    if threading.current_thread() is not threading.main_thread():  # only that one may handle signals
        yield
        return
    usual = [number for number in STOPS if signal.getsignal(number) == signal.SIG_DFL]
    for number in usual:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in usual:
            signal.signal(number, signal.SIG_DFL)


def _exit(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one would stop the tidying
    raise SystemExit(128 + number)

"""The lock of a folder whose processes are supervised: one supervisor at a time, and the way to stop it.

Supervisor and leashes hold it through one open file. So after a `kill -9` of the supervisor the next one begins when
the last child of the old one is gone, and never beside it.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

from fedsurg.errors import SupervisionError
from fedsurg.files import try_lock

NAME = "supervisor.lock"
LOOK_S = 0.1
ORPHANS_S = 30.0  # children of a killed supervisor end within their grace; the longest is below this


class SupervisorLock:
    """Held while a supervisor runs in `folder`.

    Raises:
        SupervisionError: another one runs there, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as problem:
            raise SupervisionError(
                f"{folder}: cannot be written ({problem.strerror}); run as its owner, or free some space"
            ) from problem
        try:
            self._take()
        except BaseException:
            os.close(self.handle)
            raise

    def _take(self) -> None:
        deadline = time.monotonic() + ORPHANS_S
        while not try_lock(self.handle):
            holder = _written(self.path)
            if _alive(holder) or time.monotonic() > deadline:
                raise SupervisionError(
                    f"{self.path.parent}: runs already (process {holder}); stop that first, or give another --dir"
                )
            time.sleep(LOOK_S)
        os.ftruncate(self.handle, 0)
        os.write(self.handle, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let the next supervisor in."""
        os.ftruncate(self.handle, 0)
        os.close(self.handle)


def await_leftovers(folder: Path) -> None:
    """Wait until the children of a supervisor that was killed have ended: until then their ports are taken.

    Raises:
        SupervisionError: a supervisor runs there, or the folder cannot be written.
    """
    SupervisorLock(folder).release()


def supervisor_of(folder: Path) -> int | None:
    """Process number of the supervisor that runs in `folder`; none: nobody does."""
    path = folder / NAME
    with contextlib.suppress(OSError), path.open("rb") as file:
        if not try_lock(file.fileno()):
            holder = _written(path)
            return holder if _alive(holder) else None
    return None


def left_behind(folder: Path) -> bool:
    """Children of a supervisor that was killed still run in `folder`."""
    path = folder / NAME
    with contextlib.suppress(OSError), path.open("rb") as file:
        return not try_lock(file.fileno()) and not _alive(_written(path))
    return False


def stop(folder: Path, timeout_s: float = 60.0) -> bool:
    """End the supervisor of `folder` with all its children; false when none runs.

    Raises:
        SupervisionError: it did not end in time, or belongs to another user.
    """
    holder = supervisor_of(folder)
    if holder is None:
        return False
    try:
        os.kill(holder, signal.SIGTERM)
    except ProcessLookupError:
        return False
    except PermissionError as problem:
        raise SupervisionError(f"{folder}: process {holder} is another user's; stop it as that user") from problem
    deadline = time.monotonic() + timeout_s
    while supervisor_of(folder) == holder:
        if time.monotonic() > deadline:
            raise SupervisionError(
                f"{folder}: process {holder} did not end within {timeout_s:g} s; look at {folder / 'logs'}, or kill it"
            )
        time.sleep(LOOK_S)
    return True


def _written(path: Path) -> int:
    """The process number in the lock file; 0: none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _alive(process: int) -> bool:
    if not process:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

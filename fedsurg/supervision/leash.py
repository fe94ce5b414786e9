"""A small process between the supervisor and one child: it writes the child's log, and never lets it live on alone.

Run as a script of its own by `python -I -S`, with the standard library alone: it starts in some hundredths of a second.
Its one argument is JSON (see `main`). The lifeline is a socket to the supervisor; the child's process number goes up.
When it closes, as the supervisor wants the child to end or was killed itself, the child is ended: SIGTERM, after the
grace SIGKILL, and then whatever it started. The leash ends with the child's exit code (128 + number of a signal).
"""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

CANNOT_START = 127
PR_SET_PDEATHSIG = 1
PIECE = 65536


class RotatedLog:
    """Bytes appended to `path`; above `limit` bytes it becomes `path`.1, and so on up to `path`.`kept`.

    A log that cannot be written (full disk) stops no child: what does not fit is counted, and said when it fits again.
    """

    def __init__(self, path: Path, limit: int, kept: int) -> None:
        self._path, self._limit, self._kept = path, limit, kept
        self._lost = 0

    def write(self, data: bytes) -> None:
        """Append `data`."""
        try:
            if self._lost:
                self._append(f"-- {self._lost} bytes of this log could not be written\n".encode())
                self._lost = 0
            self._append(data)
        except OSError:
            self._lost += len(data)

    def say(self, text: str) -> None:
        """Append a line of the leash itself."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        self.write(f"-- {stamp} {text}\n".encode())

    def _append(self, data: bytes) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if os.fstat(handle).st_size + len(data) > self._limit:
                self._rotate()
                os.close(handle)
                handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(handle, data)
        finally:
            os.close(handle)

    def _rotate(self) -> None:
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._kept + 1))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            if newer.exists():
                newer.replace(older)


class Leash:
    """One child, from its start to its end.

    Args:
        command: of the child.
        log: takes all that it prints.
        lifeline: to the supervisor; the child's process number goes up, and its end ends the child.
        grace_s: between SIGTERM and SIGKILL.
    """

    def __init__(self, command: list[str], log: RotatedLog, lifeline: socket.socket, grace_s: float) -> None:
        self._log, self._lifeline, self._grace_s = log, lifeline, grace_s
        self._woken, self._waking = socket.socketpair()
        self._told_to_end = False
        self._heed_signals()
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  # there is one thread
        )
        assert self._child.stdout  # asked for above
        self._output = self._child.stdout.fileno()
        os.set_blocking(self._output, False)

    def run(self) -> int:
        """Watch the child until it has ended, then end what it started; its exit code."""
        self._log.say(f"started as process {self._child.pid}")
        with contextlib.suppress(OSError):  # the supervisor is gone already, which the loop sees
            self._lifeline.send(f"{self._child.pid}\n".encode())
        self._watch()
        while self._take_output():
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        code = self._child.returncode
        self._log.say(f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}")
        return 128 - code if code < 0 else code

    def _watch(self) -> None:
        deadline: float | None = None
        with selectors.DefaultSelector() as selector:
            for source in (self._output, self._lifeline, self._woken):
                selector.register(source, selectors.EVENT_READ)
            while self._child.poll() is None:
                for key, _ in selector.select(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    if not self._take_output() if key.fileobj == self._output else not _received(key.fileobj):
                        selector.unregister(key.fileobj)
                        self._told_to_end |= key.fileobj is self._lifeline
                if self._told_to_end and deadline is None:
                    self._child.terminate()
                    deadline = time.monotonic() + self._grace_s
                elif deadline is not None and time.monotonic() >= deadline and self._child.poll() is None:
                    self._log.say(f"did not end within {self._grace_s:g} s and is killed")
                    self._child.kill()
                    self._child.wait()

    def _take_output(self) -> bool:
        """Move a piece of the child's output to the log; false when there is none or no more."""
        try:
            piece = os.read(self._output, PIECE)
        except BlockingIOError:
            return False
        if piece:
            self._log.write(piece)
        return bool(piece)

    def _heed_signals(self) -> None:
        """Wake the loop when the child ends, or when someone tells the leash to end."""
        self._woken.setblocking(False)
        self._waking.setblocking(False)
        signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)

        def note(number: int, _frame: FrameType | None) -> None:
            self._told_to_end |= number != signal.SIGCHLD

        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, note)


def main() -> int:
    """Run the child that the argument describes: command, log, log_bytes, log_kept, grace_s, lifeline."""
    wanted: dict[str, Any] = json.loads(sys.argv[1])
    log = RotatedLog(Path(wanted["log"]), wanted["log_bytes"], wanted["log_kept"])
    try:
        leash = Leash(wanted["command"], log, socket.socket(fileno=wanted["lifeline"]), wanted["grace_s"])
    except (OSError, subprocess.SubprocessError) as problem:
        log.say(f"cannot be started: {problem}")
        return CANNOT_START
    return leash.run()


def _received(source: Any) -> bool:
    """Something arrived on a socket; false when its other end is closed."""
    try:
        return bool(source.recv(PIECE))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _die_with_parent() -> None:
    """In the child, before its program: on Linux the kernel kills it when the leash is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())

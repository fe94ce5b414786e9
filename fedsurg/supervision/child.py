"""One supervised child: what is wanted, and the state it is in."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL

from fedsurg.supervision import leash
from fedsurg.supervision.status import Process, stamp

LOG_BYTES, LOGS_KEPT = 5 << 20, 5  # per child: at most 30 MB
SETTLED_S = 60.0  # a child that ran for so long begins again with the first pause
MANY = 3  # quick ends in a row after which a person is told


@dataclass(frozen=True)
class Child:
    """A process that should run.

    Args:
        name: of the process; its log is `logs/NAME.log`.
        command: program and arguments.
        env: added to the supervisor's own environment.
        ready: true when it does its work; asked often, so it must be quick. The next child waits for it.
        ready_s: a child that is not ready by then is ended and started again.
        grace_s: between SIGTERM and SIGKILL; at most 25.
        first_pause_s: before the first restart; it doubles with every further end.
        longest_pause_s: the largest.
        hopeless: exit codes after which a restart is of no use, as a person has to do something: all is stopped then.
        why: what is known elsewhere about why it ended, for the person; empty: nothing.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] = lambda: True
    ready_s: float = 60.0
    grace_s: float = 10.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0
    hopeless: frozenset[int] = frozenset()
    why: Callable[[], str] = lambda: ""


class Watched:
    """A child as it is now. Times are of the monotonic clock.

    `state`: waiting (for the one before it), starting, running, pausing (before a restart), stopped.
    """

    def __init__(self, wanted: Child, logs: Path) -> None:
        self.wanted, self.log = wanted, logs / f"{wanted.name}.log"
        self.state, self.since = "waiting", stamp()
        self.pid: int | None = None
        self.last_exit: int | None = None
        self.starts = self.quick_ends = 0
        self.begun = self.again_at = 0.0
        self.lifeline: socket.socket | None = None
        self._leash: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> Process:
        """For `status.json`."""
        return Process(self.pid, self.state, self.since, max(0, self.starts - 1), self.last_exit)

    def enter(self, state: str) -> None:
        """Note a change of state."""
        self.state, self.since = state, stamp()

    def start(self, lock: int) -> None:
        """Start the child on its leash, which holds the `lock` too."""
        ours, theirs = socket.socketpair()
        wanted = {
            "command": list(self.wanted.command),
            "log": str(self.log),
            "log_bytes": LOG_BYTES,
            "log_kept": LOGS_KEPT,
            "grace_s": self.wanted.grace_s,
            "lifeline": theirs.fileno(),
        }
        with theirs:
            self._leash = subprocess.Popen(
                [sys.executable, "-I", "-S", leash.__file__, json.dumps(wanted)],
                env={**os.environ, **self.wanted.env},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), lock),
                start_new_session=True,
            )
        self.lifeline, self.begun, self.starts = ours, time.monotonic(), self.starts + 1
        self.enter("starting")

    def listen(self) -> None:
        """Take the child's process number, if it has come."""
        if self.lifeline and self.pid is None:
            with suppress(OSError, ValueError):
                self.pid = int(self.lifeline.recv(32, socket.MSG_DONTWAIT))

    def ended(self) -> bool:
        """The child is gone; then its exit code is in `last_exit`."""
        code = self._leash.poll() if self._leash else None
        if code is None:
            return False
        if code < 0 and self.pid:  # the leash was killed; so is the child on Linux, but not what it started
            with suppress(ProcessLookupError):
                os.killpg(self.pid, SIGKILL)
        self.last_exit, self.pid, self._leash = code, None, None
        if self.lifeline:
            self.lifeline.close()
            self.lifeline = None
        return True

    def end(self) -> None:
        """Tell the child to end."""
        if self.lifeline:
            with suppress(OSError):
                self.lifeline.shutdown(socket.SHUT_WR)

    def wait(self, patience_s: float) -> None:
        """Wait for the end that was told; a leash that hangs is killed."""
        if not self._leash:
            return
        try:
            self._leash.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self._leash.wait()
        self.ended()

    def kill(self) -> None:
        """End the child without a grace; `ended` tells when it is gone."""
        if self._leash:
            self._leash.kill()

    def next_pause(self, now: float) -> float:
        """Seconds until the next start, after an end."""
        self.quick_ends = 1 if now - self.begun >= SETTLED_S else self.quick_ends + 1
        pause = min(self.wanted.longest_pause_s, self.wanted.first_pause_s * 2 ** min(self.quick_ends - 1, 30))
        self.again_at = now + pause
        return float(pause)

    def last_words(self) -> str:
        """The last line that the child itself wrote."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()]
            return next((line[:200] for line in reversed(lines) if line and not line.startswith("-- ")), "")
        return ""

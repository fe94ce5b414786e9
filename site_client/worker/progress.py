"""What the worker does just now: in `run/worker.json`, and for whoever asks over the socket."""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from fedsurg.errors import FedsurgError
from fedsurg.files import write_atomic
from fedsurg.sharing.protocol import Request

log = logging.getLogger("fedsurg.site")

EVERY_S = 1.0  # between two writings of the file within one phase

STARTING, IDLE, WORKING, STOPPED = "starting", "idle", "working", "stopped"
ANSWERED = "answered"


@dataclass(frozen=True)
class Progress:
    """Where the work stands: `step` of `steps` (0: the phase has none), seconds since it was asked for."""

    phase: str
    step: int = 0
    steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Doing:
    """The state of the worker; `last` is how the request before ended: `answered`, or the class name of an error."""

    state: str = STARTING
    request: Request | None = None
    progress: Progress | None = None
    last: str = ""


class Board:
    """Where the worker writes up what it does. A disk that is full never stops the work.

    Args:
        path: of the file.
        clock: seconds; for tests.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._guard, self._written = threading.Lock(), 0.0
        self.doing = Doing()

    def state(self, state: str) -> None:
        """Starting, idle or stopped."""
        self._write(Doing(state, last=self.doing.last))

    def begin(self, request: Request) -> None:
        """A request is taken in hand."""
        self._write(Doing(WORKING, request, last=self.doing.last))

    def tell(self, progress: Progress) -> None:
        """It got on."""
        before = self.doing.progress
        doing = replace(self.doing, progress=progress)
        new_phase = not before or before.phase != progress.phase
        if new_phase or self._clock() - self._written >= EVERY_S:
            self._write(doing)
        else:
            self.doing = doing

    def end(self, last: str) -> None:
        """It ended."""
        self._write(Doing(IDLE, last=last))

    def _write(self, doing: Doing) -> None:
        self.doing = doing
        facts: dict[str, object] = {"state": doing.state}
        if doing.request:
            facts |= {key: value for key, value in doing.request.facts().items() if key != "contract"}
        if doing.progress:
            facts |= asdict(doing.progress)
        facts |= {"last": doing.last, "updated": datetime.now(UTC).isoformat(timespec="seconds")}
        with self._guard:
            self._written = self._clock()
            try:
                write_atomic(self._path, json.dumps(facts) + "\n")
            except FedsurgError as problem:
                log.warning("%s", problem)

"""One request at a time: who waits, what is in hand, and how it is stopped.

All work is done in one thread. A request that comes meanwhile waits for its turn, as a straggler that was just stopped
is still at its last step; more than a few are refused.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from fedsurg.errors import BusyError, FedsurgError, StoppedError, debugging
from site_client.bundle.records import Answered, Asked
from site_client.worker.progress import ANSWERED, Board, Progress

if TYPE_CHECKING:
    from site_client.engine import Watch  # needs torch

log = logging.getLogger("fedsurg.site")

WAITING = 2  # requests, beside the one in hand

Answer = Callable[[Asked, "Watch"], Answered]


class Job:
    """A request on its way.

    Args:
        asked: the request.
        board: is told how far it is.
    """

    def __init__(self, asked: Asked, board: Board) -> None:
        self.asked, self._board = asked, board
        self._stopped, self._started = threading.Event(), time.monotonic()
        self._told: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()  # None: it has ended
        self.answer: Future[Answered] = Future()
        self.answer.add_done_callback(lambda _: self._told.put(None))

    def stop(self) -> None:
        """End it at its next step; what it raises then is a `StoppedError`."""
        self._stopped.set()

    def watch(self, phase: str, step: int, steps: int) -> None:
        """Take note of how far it is.

        Raises:
            StoppedError: it is not to go on.
        """
        if self._stopped.is_set():
            raise StoppedError(f"stopped at {phase}, step {step} of {steps}; the state saved last is as it was")
        progress = Progress(phase, step, steps, time.monotonic() - self._started)
        self._board.tell(progress)
        self._told.put(progress)

    def progress(self) -> Iterator[Progress]:
        """How far it is, until it has ended."""
        while progress := self._told.get():
            yield progress


class Desk:
    """Takes requests and has them answered.

    Args:
        answer: does the work; called in one thread, one request at a time.
        board: where it is written up.
    """

    def __init__(self, answer: Answer, board: Board) -> None:
        self._answer, self._board = answer, board
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fedsurg-work")
        self._guard, self._jobs = threading.Lock(), list[Job]()

    def take(self, asked: Asked) -> Job:
        """A request in its turn; `Job.answer` will hold the answer.

        Raises:
            BusyError: enough wait.
        """
        job = Job(asked, self._board)
        with self._guard:
            if len(self._jobs) > WAITING:
                raise BusyError(
                    f"{len(self._jobs)} requests are in hand or wait, for {_said(self._jobs[0].asked)} first; ask later"
                )
            self._jobs.append(job)
        self._thread.submit(self._do, job)
        return job

    def stop_all(self) -> bool:
        """Stop what is in hand and what waits; whether there was anything."""
        with self._guard:
            jobs = list(self._jobs)
        for job in jobs:
            job.stop()
        return bool(jobs)

    def close(self) -> None:
        """Stop everything and wait until it has ended."""
        self.stop_all()
        self._thread.shutdown()

    def _do(self, job: Job) -> None:
        said = _said(job.asked)
        try:
            self._board.begin(job.asked.request)
            job.watch("waiting", 0, 0)
            answered = self._answer(job.asked, job.watch)
        except BaseException as problem:
            expected = isinstance(problem, FedsurgError) and not debugging()
            log.error("%s: %s: %s", said, type(problem).__name__, problem, exc_info=not expected)
            self._leave(job, type(problem).__name__)
            job.answer.set_exception(problem)
        else:
            log.info("%s: %s, %s bytes", said, ANSWERED, len(answered.packed.data))
            self._leave(job, ANSWERED)
            job.answer.set_result(answered)

    def _leave(self, job: Job, last: str) -> None:
        with self._guard:
            self._jobs.remove(job)
        self._board.end(last)


def _said(asked: Asked) -> str:
    request = asked.request
    return f"{request.work} in round {request.round} of study {request.study[:12]}"

"""Jobs in worker processes: several at once, Ctrl-C stops them between sites, a dead worker is one clear line."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from fedsurg.errors import FedsurgError, InterruptedRunError
from fedsurg.stopping import ENDS, no_interrupt
from fedsurg.workers import stand_by
from simulations.job import Job
from simulations.progress import Progress


def run_jobs(jobs: list[Job], workers: int, progress: Progress) -> None:
    """Run jobs in `workers` processes; the first that fails stops the others after their current site.

    Raises:
        FedsurgError: what a job raised, or a worker process died.
        InterruptedRunError: the person pressed Ctrl-C.
    """
    if not jobs:
        return
    context = multiprocessing.get_context("spawn")
    with no_interrupt():
        rounds: Any = context.Queue()
        stop = context.Event()
    progress.start_jobs([job.name for job in jobs], jobs[0].study.federation.rounds + 1)
    with (
        _environment(OMP_NUM_THREADS=str(jobs[0].threads)),
        ProcessPoolExecutor(
            min(workers, len(jobs)), context, initializer=_start_worker, initargs=(rounds, stop)
        ) as pool,
        _Interrupts() as interrupts,
    ):
        brake = _Brake(stop, pool, interrupts, progress)
        running: dict[Future[None], Job] = {}
        try:
            with no_interrupt():
                for job in jobs:
                    running[pool.submit(_work, job)] = job
            _follow(running, rounds, progress, brake)
        except BaseException as problem:
            # a worker that was killed may hold the lock of `stop` for ever; when one dies, the pool ends the others
            if not (brake.pulled or isinstance(problem.__cause__, BrokenProcessPool)):
                stop.set()
            for future in running:
                future.cancel()
            raise


class _Interrupts:
    """Counts Ctrl-C, SIGTERM and SIGHUP instead of raising: an exception can be lost wherever the program just is."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            ends = (number for number in ENDS if signal.getsignal(number) == signal.SIG_DFL)
            self._before = {number: signal.signal(number, self._counted) for number in (signal.SIGINT, *ends)}
        return self

    def __exit__(self, *details: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _counted(self, *_: object) -> None:
        self.count += 1


@dataclass
class _Brake:
    """The first Ctrl-C asks the workers to stop after the site at work, the second ends them."""

    stop: Any
    pool: ProcessPoolExecutor
    interrupts: _Interrupts
    progress: Progress
    pulled: bool = False

    def pull(self, running: Iterable[Future[None]]) -> None:
        """Act on what the person has pressed so far."""
        if self.interrupts.count and not self.pulled:
            self.pulled = True
            self.stop.set()
            for future in running:
                future.cancel()
            self.progress.say("stopping after the sites that are at work; press Ctrl-C again to stop at once")
        if self.interrupts.count > 1:
            for process in list(self.pool._processes.values()):
                process.kill()


def _follow(running: dict[Future[None], Job], rounds: Any, progress: Progress, brake: _Brake) -> None:
    """Show rounds as they come in; raise what a job raised."""
    waiting = set(running)
    while waiting:
        brake.pull(waiting)
        done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
        brake.pull(waiting)  # what ended the workers may have been meant for all
        if brake.interrupts.count < 2:  # a worker that was killed may have left half a message
            _drain(rounds, progress)
        for future in done:
            if not brake.pulled:
                _result(future, running[future].name)
                progress.finish_job(running[future].name)
    if brake.pulled:
        raise InterruptedRunError("stopped; every finished round is on disk, go on with --resume")


def _result(future: Future[None], name: str) -> None:
    try:
        future.result()
    except BrokenProcessPool as problem:
        raise FedsurgError(
            f"{name}: a worker process died (out of memory?); finished rounds are on disk, "
            "go on with --resume, with fewer --jobs if memory was short"
        ) from problem
    except MemoryError as problem:
        said = str(problem) or "out of memory"
        raise FedsurgError(f"{name}: {said}; go on with --resume and fewer --jobs") from problem
    except FedsurgError as problem:
        raise type(problem)(f"{name}: {problem}") from problem


def _drain(rounds: Any, progress: Progress) -> None:
    while True:
        try:
            progress.round_done(*rounds.get_nowait())
        except queue.Empty:
            return


_rounds: Any = None
_stop: Any = None


def _start_worker(rounds: Any, stop: Any) -> None:
    """In a new worker: the person's Ctrl-C reaches the main process alone, which asks workers to stop."""
    global _rounds, _stop
    stand_by()
    _rounds, _stop = rounds, stop


def _work(job: Job) -> None:
    import torch

    from simulations.run_job import run_job

    try:
        run_job(job, lambda record: _rounds.put((job.name, record)), _stop.is_set)
    except torch.OutOfMemoryError as problem:  # one line of what torch says of it
        raise MemoryError(str(problem).partition(". ")[0]) from None


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Environment variables that new processes inherit."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

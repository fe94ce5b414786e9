"""The pool of jobs: a worker that dies, and a run that is told to end."""

import io
import os
import signal
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from fedsurg.errors import FedsurgError, InterruptedRunError
from simulations.pool import run_jobs
from simulations.progress import Progress


class Doomed:
    """Looks like a job; unpickled in the worker, it does `what` there."""

    name, threads, study = "fedst-fold0", 1, SimpleNamespace(federation=SimpleNamespace(rounds=1))

    def __init__(self, *what: Any) -> None:
        self.what = what

    def __reduce__(self) -> Any:
        call, *words = self.what
        return call, tuple(words)


def run(job: Doomed) -> str:
    """What the person sees."""
    shown = Console(file=io.StringIO(), width=200)
    with Progress(shown) as progress:
        run_jobs([job], 1, progress)  # type: ignore[list-item]
    return shown.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_worker_that_dies_is_one_clear_line() -> None:
    said = r"fedst-fold0: a worker process died \(out of memory\?\); finished rounds are on disk, go on with --resume"
    with pytest.raises(FedsurgError, match=said):
        run(Doomed(os._exit, 3))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end_says_how_it_goes_on(number: signal.Signals) -> None:
    """Twice: the first time it waits for the site that is at work, which here sleeps on."""
    before = signal.getsignal(number)

    def tell() -> None:
        for _ in range(2):
            deadline = time.monotonic() + 60
            while signal.getsignal(number) == before and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(1)
            if signal.getsignal(number) != before:
                os.kill(os.getpid(), number)

    thread = threading.Thread(target=tell)
    thread.start()
    with pytest.raises(InterruptedRunError, match="stopped; every finished round is on disk, go on with --resume"):
        run(Doomed(time.sleep, 120))
    thread.join()
    assert signal.getsignal(number) == before

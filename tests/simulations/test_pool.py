"""The pool of jobs: a worker that dies, and a run that is told to end."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from fedsurg.errors import FedsurgError, InterruptedRunError
from simulations.pool import _result, run_jobs
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


def test_an_interrupt_while_jobs_are_handed_out_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = ProcessPoolExecutor.submit

    def interrupted(*given: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return submit(*given)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", interrupted)
    with pytest.raises(InterruptedRunError, match="stopped; every finished round is on disk"):
        run(Doomed(time.sleep, 3))


def test_memory_that_runs_out_is_named_with_the_job() -> None:
    with pytest.raises(FedsurgError, match=r"^fedst-fold0: CUDA out of memory; go on with --resume and fewer --jobs$"):
        _result(failed(MemoryError("CUDA out of memory")), "fedst-fold0")


def failed(problem: BaseException) -> Future[None]:
    future: Future[None] = Future()
    future.set_exception(problem)
    return future


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_group_that_is_told_to_end_is_no_worker_that_died(number: signal.Signals, tmp_path: Path) -> None:
    """As a closed terminal and a machine that is shut down do: parent and workers at once."""
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore both\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from rich.console import Console\n"
        "from fedsurg.errors import InterruptedRunError\n"
        "from simulations.pool import run_jobs\n"
        "from simulations.progress import Progress\n"
        "from types import SimpleNamespace\n"
        "class Doomed:\n"
        "    name, threads, study = 'fedst', 1, SimpleNamespace(federation=SimpleNamespace(rounds=1))\n"
        "    def __reduce__(self):\n"
        '        return eval, (f\'open({sys.argv[1]!r}, "w").close() or __import__("time").sleep(120)\',)\n'
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        with Progress(Console()) as progress:\n"
        "            run_jobs([Doomed()], 1, progress)\n"
        "    except InterruptedRunError as stopped:\n"
        "        print(stopped)\n"
    )
    (tmp_path / "main.py").write_text(code)
    words = [sys.executable, str(tmp_path / "main.py"), str(tmp_path / "works")]
    running = subprocess.Popen(
        words,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "works").exists():
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    for _ in range(2):  # the second time for the site that is at work, which sleeps on
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, number)
        time.sleep(1)
    out, err = running.communicate(timeout=60)
    assert "stopped; every finished round is on disk, go on with --resume" in out
    assert "Traceback" not in err

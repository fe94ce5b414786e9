"""`fedsurg simulate`: all methods of a study on all folds, many sites on one machine."""

import json
import multiprocessing
import os
import platform
import queue
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsurg.errors import FedsurgError, InterruptedRunError, RunError
from fedsurg.files import write_atomic
from fedsurg.study.config import Study
from fedsurg.study.load import study_digest
from simulations.preparation import Prepared, prepare
from simulations.progress import Progress

if TYPE_CHECKING:
    from simulations.job import Job

CLAIM = "claim.json"  # written first: says which study a run folder belongs to
PACKAGES = (
    "fedsurg",
    "flwr",
    "torch",
    "timm",
    "peft",
    "segmentation-models-pytorch",
    "monai",
    "mitsuba",
    "numpy",
)


@dataclass(frozen=True)
class Options:
    """How to run a study; nothing here changes what is computed, except the device.

    Args:
        out: the run folder.
        resume: go on in an existing run folder.
        data: folder that holds the sites' data folders.
        engine: inline or ray.
        jobs: how many (method, fold) pairs run at once.
        threads: of torch in each job.
        device: name of the device, or auto.
        cache: folder of rendered video and starts.
        folds: run these folds only; empty: all.
    """

    out: Path
    resume: bool = False
    data: Path | None = None
    engine: str = "inline"
    jobs: int = 1
    threads: int = 1
    device: str = "auto"
    cache: Path = Path("~/.cache/fedsurg")
    folds: tuple[int, ...] = ()


def simulate(study: Study, options: Options, progress: Progress) -> Path:
    """Run or resume a study and return its run folder; the report is written by the caller.

    Raises:
        RunError: the folder is taken, foreign or cannot be written.
        FedsurgError: preparing or a job failed; finished rounds stay on disk.
    """
    started = time.perf_counter()
    digest = study_digest(study)
    before = _claim(options, digest)
    cache = options.cache.expanduser()
    try:
        prepared = prepare(study, options.data, cache, options.device, progress.preparing)
    except FedsurgError:
        _release(options)
        raise
    info = _describe(study, digest, prepared, options)
    write_atomic(options.out / "run.json", json.dumps(info | {"wall_s": before}, indent=1))
    try:
        _run_jobs([job for job in jobs_of(study, prepared, options) if not job.done], options, progress)
    finally:
        wall = before + time.perf_counter() - started
        write_atomic(options.out / "run.json", json.dumps(info | {"wall_s": wall}, indent=1))
    return options.out


def jobs_of(study: Study, prepared: Prepared, options: Options) -> list["Job"]:
    """One job per fold and method, all methods of a fold before the next fold."""
    from simulations.job import Job

    count = study.evaluation.folds
    wrong = [fold for fold in options.folds if fold >= count]
    if wrong:
        raise RunError(f"--fold {wrong[0]}: the study has {count} folds, numbered from 0 (evaluation.folds)")
    folds: tuple[int | None, ...] = tuple(dict.fromkeys(options.folds)) or (tuple(range(count)) if count else (None,))
    cells = [(method, fold) for fold in folds for method in study.methods]
    return [
        Job(
            study=study,
            method=method,
            fold=fold,
            folder=options.out.resolve() / "runs" / (method if fold is None else f"{method}-fold{fold}"),
            sites={name: folder.resolve() for name, folder in prepared.sites.items()},
            synthetic=prepared.synthetic.resolve(),
            start=prepared.start.resolve(),
            device=options.device,
            engine=options.engine,
            threads=options.threads,
            processes=options.jobs,
        )
        for method, fold in cells
    ]


def _claim(options: Options, digest: str) -> float:
    """Take the run folder; returns the seconds already spent in it.

    Raises:
        RunError: it exists and is not to be resumed, or belongs to another study.
    """
    out = options.out
    try:
        if not options.resume:
            if out.exists() and (not out.is_dir() or any(out.iterdir())):
                raise RunError(f"{out}: exists already; choose another --out, or go on there with --resume")
            write_atomic(out / CLAIM, json.dumps({"digest": digest}))
            return 0.0
        if not (out / CLAIM).exists():
            raise RunError(f"{out}: is no run folder, so there is nothing to resume; leave out --resume")
        claim = json.loads((out / CLAIM).read_text())
        if claim["digest"] != digest:
            raise RunError(
                f"{out}: was started with study {claim['digest'][:12]}, this one is {digest[:12]}; "
                "resume with the same study file and options, or choose another --out"
            )
        return float(json.loads((out / "run.json").read_text())["wall_s"]) if (out / "run.json").exists() else 0.0
    except (OSError, KeyError, TypeError, ValueError) as problem:
        raise RunError(f"{out}: cannot be used as a run folder ({problem}); choose another --out") from problem


def _release(options: Options) -> None:
    """Give the folder of a run back that never began, so that the same command can be given again."""
    if not options.resume:
        (options.out / CLAIM).unlink(missing_ok=True)
        with suppress(OSError):  # something else lies in it
            options.out.rmdir()


def _run_jobs(jobs: list["Job"], options: Options, progress: Progress) -> None:
    """Run jobs in worker processes; the first that fails stops the others after their current site."""
    if not jobs:
        return
    context = multiprocessing.get_context("spawn")
    rounds: Any = context.Queue()
    stop = context.Event()
    progress.start_jobs([job.name for job in jobs], jobs[0].study.federation.rounds + 1)
    workers = 1 if options.engine == "ray" else min(options.jobs, len(jobs))
    with (
        _environment(OMP_NUM_THREADS=str(options.threads)),
        ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(rounds, stop)) as pool,
    ):
        running: dict[Future[None], Job] = {}
        try:
            with _no_interrupt():
                running.update({pool.submit(_work, job): job for job in jobs})
            _follow(running, rounds, progress)
        except BaseException as problem:
            stop.set()
            for future in running:
                future.cancel()
            if isinstance(problem, KeyboardInterrupt):
                progress.say("stopping after the sites that are at work; press Ctrl-C again to stop at once")
                _wait_or_kill(running, pool)
                raise InterruptedRunError("stopped; every finished round is on disk, go on with --resume") from None
            raise


def _follow(running: dict[Future[None], "Job"], rounds: Any, progress: Progress) -> None:
    """Show rounds as they come in; raise what a job raised."""
    waiting = set(running)
    while waiting:
        done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
        _drain(rounds, progress)
        for future in done:
            try:
                future.result()
            except BrokenProcessPool as problem:
                raise FedsurgError(
                    f"{running[future].name}: a worker process died (out of memory?); finished rounds are on disk, "
                    "go on with --resume, with fewer --jobs if memory was short"
                ) from problem
            except FedsurgError as problem:
                raise type(problem)(f"{running[future].name}: {problem}") from problem
            progress.finish_job(running[future].name)


def _drain(rounds: Any, progress: Progress) -> None:
    while True:
        try:
            progress.round_done(*rounds.get_nowait())
        except queue.Empty:
            return


def _wait_or_kill(running: dict[Future[None], "Job"], pool: ProcessPoolExecutor) -> None:
    try:
        wait(running)
    except KeyboardInterrupt:
        for process in list(pool._processes.values()):
            process.kill()


_rounds: Any = None
_stop: Any = None


def _start_worker(rounds: Any, stop: Any) -> None:
    """In a new worker: the person's Ctrl-C reaches the main process alone, which asks workers to stop."""
    global _rounds, _stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _rounds, _stop = rounds, stop


def _work(job: "Job") -> None:
    from simulations.job import run_job

    run_job(job, lambda record: _rounds.put((job.name, record)), _stop.is_set)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Processes started here never see Ctrl-C, not even before `_start_worker`: they inherit that it is blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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


def _describe(study: Study, digest: str, prepared: Prepared, options: Options) -> dict[str, Any]:
    """What the report says about the run itself."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() and options.device != "cpu" else "cpu"
    return {
        "study": study.resolved(),
        "digest": digest,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        "machine": {
            "cpu": _processor(),
            "cores": os.cpu_count() or 1,
            "memory_gb": round(memory, 1),
            "device": device,
        },
        "command": " ".join(["fedsurg", *sys.argv[1:]]),
        "engine": options.engine,
        "jobs": options.jobs,
        "threads": options.threads,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "simulated_sites": prepared.simulated,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def free_folder(base: Path, name: str) -> Path:
    """A run folder below `base` that does not exist yet, named by study and time."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return base / f"{name}-{stamp}"

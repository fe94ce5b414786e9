"""`fedsurg simulate`: all methods of a study on all folds, many sites on one machine."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedsurg.errors import InterruptedRunError, RunError
from fedsurg.files import write_atomic
from fedsurg.study.config import Study
from fedsurg.study.holdout import Holdout, holdouts
from fedsurg.study.load import study_digest
from simulations.pool import run_jobs
from simulations.preparation import Prepared, prepare
from simulations.progress import Progress
from simulations.run_folder import RECORD, claimed, facts_of_run, inputs_of_run

if TYPE_CHECKING:
    from simulations.job import Job


@dataclass(frozen=True)
class Options:
    """How to run a study; nothing here changes what is computed, except the device.

    Args:
        out: the run folder.
        resume: go on in an existing run folder.
        data: folder that holds the sites' data folders.
        engine: inline or ray.
        jobs: how many methods and folds (or left-out sites) run at once.
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
    _holdouts(study, options)  # a wrong one is refused before the folder is taken
    with claimed(options.out, digest, resume=options.resume) as before:
        try:
            prepared = prepare(study, options.data, options.cache.expanduser(), options.device, progress.preparing)
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"stopped while preparing; what is finished is kept, go on with --out {options.out} --resume"
            ) from None
        info = {
            "study": study.resolved(),
            "digest": digest,
            "engine": options.engine,
            "jobs": options.jobs,
            "threads": options.threads,
            "simulated_sites": prepared.simulated,
        }
        info |= inputs_of_run(options.out / RECORD, prepared) | facts_of_run(options.device)
        write_atomic(options.out / RECORD, json.dumps(info | {"wall_s": before}, indent=1))
        try:
            workers = 1 if options.engine == "ray" else options.jobs
            run_jobs([job for job in jobs_of(study, prepared, options) if not job.done], workers, progress)
        finally:
            wall = before + time.perf_counter() - started
            write_atomic(options.out / RECORD, json.dumps(info | {"wall_s": wall}, indent=1))
    return options.out


def jobs_of(study: Study, prepared: Prepared, options: Options) -> list["Job"]:
    """One job per fold (or left-out site) and method, all methods of a fold before the next fold."""
    from simulations.job import Job

    cells = [(method, holdout) for holdout in _holdouts(study, options) for method in study.methods]
    return [
        Job(
            study=holdout.study(study),
            method=method,
            fold=holdout.fold,
            title=f"{method}{holdout}",
            folder=options.out.resolve() / "runs" / f"{method}{holdout}",
            sites={name: folder.resolve() for name, folder in prepared.sites.items()},
            synthetic=prepared.synthetic and prepared.synthetic.resolve(),
            start=prepared.start.resolve(),
            device=options.device,
            engine=options.engine,
            threads=options.threads,
            processes=options.jobs,
        )
        for method, holdout in cells
    ]


def _holdouts(study: Study, options: Options) -> tuple[Holdout, ...]:
    """All of the study, or the folds that the person chose."""
    count = study.evaluation.folds
    wrong = [fold for fold in options.folds if fold >= count]
    if wrong:
        raise RunError(f"--fold {wrong[0]}: the study has {count} folds, numbered from 0 (evaluation.folds)")
    return tuple(Holdout(fold) for fold in dict.fromkeys(options.folds)) or holdouts(study)

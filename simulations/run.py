"""`fedsurg simulate`: all methods of a study on all folds, many sites on one machine."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from fedsurg.errors import RunError
from fedsurg.files import write_atomic
from fedsurg.study.config import Study
from fedsurg.study.digest import study_digest
from fedsurg.study_file.holdout import Holdout, holdouts
from simulations.job import Job
from simulations.options import RunOptions
from simulations.pool import run_jobs
from simulations.preparation import Prepared, prepare_for
from simulations.progress import Progress
from simulations.run_folder import RECORD, claimed, facts_of_run, inputs_of_run


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """How to run a study; a job is a method on a fold, or without a site.

    Args:
        engine: inline or ray.
        folds: run these folds only; empty: all.
    """

    engine: str = "inline"
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
        prepared = prepare_for(study, options, progress)
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


def jobs_of(study: Study, prepared: Prepared, options: Options) -> list[Job]:
    """One job per fold (or left-out site) and method, all methods of a fold before the next fold."""
    cells = [(method, holdout) for holdout in _holdouts(study, options) for method in study.methods]
    return [
        prepared.job(
            options,
            study=holdout.study(study),
            method=method,
            fold=holdout.fold,
            title=f"{method}{holdout}",
            folder=options.out.resolve() / "runs" / f"{method}{holdout}",
            engine=options.engine,
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

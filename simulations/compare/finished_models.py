"""Models that another comparison trained, scored in place of training: for other ways of scoring, in minutes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fedsurg.errors import RunError
from fedsurg.study.config import Study
from fedsurg.study.load import changed

if TYPE_CHECKING:
    from simulations.job import Job

SCORING = (
    "unseen_cases",
    "scales",
    "confidence",
    "mirrored",
    "decision",
    "sureness",
    "tolerance_px",
    "mean_query",
    "bootstrap",
)  # keys of `[evaluation]` that are about finished models alone


def scored_as(study: Study, other: Study) -> Study:
    """`study` with the other one's ways of scoring a finished model."""
    values = other.evaluation.model_dump(mode="json")
    return changed(study, {f"evaluation.{key}": values[key] for key in SCORING})


def with_models(jobs: Sequence["Job"], trained: Sequence["Job"], cells: Path) -> list["Job"]:
    """`jobs` that take the models of finished cells.

    Args:
        jobs: to be scored.
        trained: the jobs, under the same names, that made these models.
        cells: folder of the finished cells.

    Raises:
        RunError: a cell is not finished, kept no models, or was trained by another study.
    """
    from simulations.job import job_digest

    digests = {job.name: job_digest(job) for job in trained}
    for job in jobs:
        _check(cells / job.name, digests.get(job.name, ""))
    return [replace(job, models=cells / job.name) for job in jobs]


def _check(cell: Path, digest: str) -> None:
    from simulations.job import GLOBAL_MODEL, finished

    if not (cell / "done.json").exists():
        raise RunError(f"{cell}: has not finished, so it has no models to score; finish that comparison first")
    if finished(cell)["digest"] != digest:
        keys = ", ".join(SCORING)
        raise RunError(
            f"{cell}: was trained by another study; give its study and its --set again, and other values only of "
            f"these keys of [evaluation]: {keys}"
        )
    if not (cell / GLOBAL_MODEL).exists():
        raise RunError(f"{cell}: has no models; run that comparison with --keep-models")

"""A job: one method on one fold of a study, from the common start to scored test frames. Jobs run in parallel."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedsurg.study.config import Study
from fedsurg.study.digest import study_digest
from fedsurg.study_file.holdout import Holdout
from simulations.done import DONE

CONTRACT = "contract.json"  # a list of tensors, as the job's sites shared them
GLOBAL_MODEL = Path("server") / "global.safetensors"
PERSONAL_MODEL = "personal.safetensors"  # in the folder of a site


@dataclass(frozen=True)
class Job:
    """Where everything is, as plain values that travel to a worker process.

    Args:
        study: the study.
        method: row of the registry.
        fold: number of the fold; none: the manifest's splits.
        folder: of this job's files.
        sites: folder of each site's data by name.
        synthetic: site folder of the server's synthetic video; none where no server learns on it.
        start: file of the pre-trained start.
        device: name of the device, or auto.
        engine: inline or ray.
        threads: of torch, per site.
        processes: of the ray engine.
        keep_models: keep models, private state and pictures when the job is scored; without them it cannot be looked
            at or evaluated again, and takes a thousandth of the disk.
        title: what the job is called where method and fold do not say it all; empty: by those.
        models: folder of a finished job whose models are scored instead of trained; none: all rounds run.
    """

    study: Study
    method: str
    fold: int | None
    folder: Path
    sites: Mapping[str, Path]
    synthetic: Path | None
    start: Path
    device: str = "auto"
    engine: str = "inline"
    threads: int = 1
    processes: int = 2
    keep_models: bool = True
    title: str = ""
    models: Path | None = None

    @property
    def name(self) -> str:
        """As in the run folder: `fedst`, `fedst-fold0` or `fedst-without-north`."""
        return self.title or f"{self.method}{Holdout(self.fold)}"

    @property
    def done(self) -> bool:
        """All rounds ran and all frames are scored."""
        return (self.folder / DONE).exists()


def job_digest(job: Job) -> str:
    """Digest that state files of this job carry: the study's, with method and fold."""
    return digest_of_state(job.study, job.name)


def digest_of_state(study: Study, name: str) -> str:
    """`job_digest` of a job with this study and name."""
    return study_digest(study)[:48] + f"-{name}"


def drop_models(folder: Path) -> None:
    """Remove models and private state of a finished job that was to keep none; again, if it died before it had."""
    if not json.loads((folder / DONE).read_text()).get("keep_models", True):
        for name in ("server", "sites"):
            shutil.rmtree(folder / name, ignore_errors=True)

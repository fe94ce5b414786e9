"""What all jobs of a run share, made once and cached by digest: site data, synthetic video, the start."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsurg.data.check import check_pixels
from fedsurg.data.folds import case_folds
from fedsurg.data.site import SiteData, load_site
from fedsurg.errors import DataError, InterruptedRunError
from fedsurg.methods.registry import plan
from fedsurg.simulator import cached
from fedsurg.simulator.of_study import (
    Progress,
    site_request,
    synthetic_request,
    synthetic_video,
)
from fedsurg.stopping import stopped_by_exception
from fedsurg.study.config import SiteConfig, Study
from fedsurg.study.splits import lacking_split
from fedsurg.study_file.simulated import check_server_video
from simulations.job import Job
from simulations.options import RunOptions
from simulations.progress import Progress as RunProgress

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Prepared:
    """Folders of the sites' data, the synthetic video where a method's server learns on it, the file of the start."""

    sites: dict[str, Path]
    simulated: list[str]
    synthetic: Path | None
    start: Path

    def job(self, options: RunOptions, **own: Any) -> Job:
        """A job on these data; `own` is what `Job` asks for beside them and the machine's options."""
        return Job(
            sites={name: folder.resolve() for name, folder in self.sites.items()},
            synthetic=self.synthetic and self.synthetic.resolve(),
            start=self.start.resolve(),
            device=options.device,
            threads=options.threads,
            **own,
        )


def prepare_for(study: Study, options: RunOptions, progress: RunProgress) -> Prepared:
    """`prepare` for a run that may be stopped meanwhile.

    Raises:
        InterruptedRunError: it was.
    """
    try:
        with stopped_by_exception():
            return prepare(study, options.data, options.cache.expanduser(), options.device, progress.preparing)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"stopped while preparing; what is finished is kept, go on with --out {options.out} --resume"
        ) from None


def prepare(study: Study, data: Path | None, cache: Path, device: str, progress: Progress) -> Prepared:
    """Check or render every site, make the start, render the server's video where anything still needs it.

    Raises:
        NetworkError: a network that cannot be built, a start file that does not fit it, or a site without a text
            vector; before anything is drawn.
        DataError: a site's folder is missing or inconsistent.
        StudyError: the labels of the server's video are no classes of the study; before anything is drawn.
        SimulatorError: a picture that the server's video is to use cannot be, before anything is drawn; or rendering
            failed.
        FedsurgError: there is no such device here; before anything is drawn as well.
    """
    from fedsurg.learning.device import choose_device

    choose_device(device)
    check_networks(study)
    learns = any(plan(study, method).method.server != "none" for method in study.methods)
    if learns or study.server.pretrain.training_steps:
        check_server_video(study)
    sites = {site.name: _site_folder(site, study, data, cache, progress) for site in study.sites}
    loaded = {name: load_site(folder, study.task) for name, folder in sites.items()}
    _check_names(loaded)
    for site in study.sites:
        _check_splits(site, study, loaded[site.name])
        if not site.simulate:
            check_pixels(loaded[site.name], on_frame=partial(progress, f"frames of {site.name} read"))
    start = start_of(study, cache, device, progress)
    synthetic = synthetic_video(study, cache, progress) if learns else None
    return Prepared(sites, [name for name, site in loaded.items() if site.simulated], synthetic, start)


def start_of(study: Study, cache: Path, device: str, progress: Progress) -> Path:
    """File of the study's start, made if it is not in the cache; the server's video is rendered only to train one."""
    from fedsurg.learning.device import choose_device
    from fedsurg.learning.pretrain import make_start, start_file

    start = make_start(
        study,
        lambda: synthetic_video(study, cache, progress),
        synthetic_request(study).digest(),
        cache / "starts",
        device=choose_device(device),
        progress=lambda done, total: progress("start on synthetic video", done, total),
    )
    return start_file(cache / "starts", start.digest)


def check_networks(study: Study) -> None:
    """Build what the methods need and drop it again: mistakes are found now, not after the start is trained."""
    from fedsurg.models.network import network_of
    from fedsurg.models.start_file import read_start
    from fedsurg.models.text import site_vectors

    plans = [plan(study, method) for method in study.methods]
    vectors: dict[str, Tensor] = {}
    if any(each.has_gate for each in plans):
        vectors = site_vectors(study.network.gate, [(site.name, site.procedure) for site in study.sites])
    network_of(study, text_vector=next(iter(vectors.values()), None), adapters=any(each.has_adapters for each in plans))
    if study.server.pretrain.start:
        read_start(study)


def _site_folder(site: SiteConfig, study: Study, data: Path | None, cache: Path, progress: Progress) -> Path:
    if site.simulate:
        request = site_request(site, study)
        return cached(
            request,
            cache / "sites",
            progress=lambda done, total: progress(f"video of {site.name}", done, total),
        )
    if data is None:
        raise DataError(f"site {site.name!r} has its own data; say where it lies with --data DIR")
    return data / (site.folder or site.name)


def _check_names(loaded: dict[str, SiteData]) -> None:
    """A folder that was copied would be trained on under one name and scored under the other."""
    folders: dict[str, Path] = {}
    for site in loaded.values():
        if site.name in folders:
            raise DataError(
                f"{site.root}: its site.toml has the name {site.name!r}, and so has {folders[site.name]}; "
                "give every site a folder and a name of its own"
            )
        folders[site.name] = site.root


def _check_splits(site: SiteConfig, study: Study, data: SiteData) -> None:
    lack = lacking_split(site, study, {split: len(data.cases(split)) for split in ("train", "val", "test")})
    if lack:
        raise DataError(f"site {site.name!r} {lack.told(f'move a case to {lack.split} in its manifest')}")
    if site.role == "federated" and study.evaluation.folds:
        case_folds(data, study.evaluation.folds)

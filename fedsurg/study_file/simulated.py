"""Whether the simulator can draw what a study asks of it: found before the first frame."""

from collections import Counter

from fedsurg.data.folds import check_folds
from fedsurg.data.labels import label_space
from fedsurg.data.site_file import SiteFile
from fedsurg.errors import DataError, SimulatorError, StudyError
from fedsurg.simulator.assets import check_pictures
from fedsurg.simulator.mask_values import mask_values
from fedsurg.simulator.of_study import site_request, synthetic_request
from fedsurg.study.config import SiteConfig, Study
from fedsurg.study.splits import lacking_split


def check_simulated_sites(study: Study, source: str) -> None:
    """Refuses what cannot be drawn, is labelled in no class of the study, or lacks a split.

    Raises:
        StudyError: naming `source`, the site and what to change.
    """
    for site in study.sites:
        if site.simulate:
            _check(site, study, f"{source}: sites[{site.name}].simulate")


def check_server_video(study: Study) -> None:
    """Refuses video for the server that cannot be drawn, or whose labels are no classes of the study.

    Every picture that it is to use is decoded.

    Raises:
        StudyError: its labels are no classes of the study.
        SimulatorError: the first thing in the way of drawing it.
    """
    _check_labels(mask_values(study.synthetic.whole_instruments), study, f"study {study.name!r}: synthetic")
    request = synthetic_request(study)
    request.check()
    check_pictures(request.assets, whole_instruments=request.whole_instruments)


def _check(site: SiteConfig, study: Study, where: str) -> None:
    request = site_request(site, study)
    try:
        request.check()
    except SimulatorError as problem:
        raise StudyError(f"{where}: {problem}") from problem
    _check_labels(mask_values(request.whole_instruments), study, where)
    splits = Counter(request.split_of(case) for case in range(request.case_count))
    lack = lacking_split(site, study, splits)
    if lack:
        remedy = "lower val_cases and test_cases" if lack.split == "train" else f"raise {lack.split}_cases"
        raise StudyError(f"{where}: {lack.told(remedy)}")
    if site.role == "federated" and study.evaluation.folds:
        try:
            check_folds(site.name, study.evaluation.folds, splits["train"], splits["val"])
        except DataError as problem:
            raise StudyError(f"{where}: {problem}") from problem


def _check_labels(values: dict[str, tuple[int, ...]], study: Study, where: str) -> None:
    try:
        label_space(SiteFile(name="drawn", procedure="drawn", mask_values=values), study.task)
    except DataError as problem:
        raise StudyError(
            f"{where}: its masks hold {', '.join(values)}, and the classes of the study are "
            f"{', '.join(study.task.classes)}; change task.classes or whole_instruments"
        ) from problem

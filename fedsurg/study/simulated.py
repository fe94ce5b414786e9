"""Whether the simulator can draw the hospitals of a study: found as it is read, before the first is drawn."""

from collections import Counter

from fedsurg.data.folds import check_folds
from fedsurg.data.labels import label_space
from fedsurg.errors import DataError, SimulatorError, StudyError
from fedsurg.simulator.dataset import site_file_of
from fedsurg.simulator.of_study import site_request
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


def _check(site: SiteConfig, study: Study, where: str) -> None:
    request = site_request(site, study)
    try:
        request.check()
    except SimulatorError as problem:
        raise StudyError(f"{where}: {problem}") from problem
    drawn = site_file_of(request)
    try:
        label_space(drawn, study.task)
    except DataError as problem:
        raise StudyError(
            f"{where}: its masks hold {', '.join(drawn.mask_values)}, and the classes of the study are "
            f"{', '.join(study.task.classes)}; change task.classes or whole_instruments"
        ) from problem
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

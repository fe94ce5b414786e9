"""The data folder, without reading a pixel: `fedsurg data check` does that."""

from pathlib import Path

from fedsurg.errors import DataError
from site_client.doctor.finding import Site, ToDoError
from site_client.layout import FEDERATION_FILE


def data_folder(site: Site) -> Path:
    """The folder of the site's data.

    Raises:
        ToDoError: it is not there.
    """
    folder = Path(site.membership.data)
    if not folder.is_dir():
        raise ToDoError(f"{folder}: no such folder; bring it back, or change data in {site.folder / FEDERATION_FILE}")
    return folder


def data(site: Site) -> str:
    """Site file, manifest and the files it names are there; there are enough cases for the policy."""
    from fedsurg.data.check import check_site
    from site_client.policy import FILE, read_policy

    folder, policy = data_folder(site), read_policy(site.folder)
    report = check_site(folder, pixels=False)
    if report.problems:
        more = len(report.problems) - 1
        raise DataError(report.problems[0] + f" ({more} more: fedsurg data check {folder})" * bool(more))
    counts = {split: found.cases for split, found in report.splits.items()}
    if counts.get("train", 0) < policy.minimum_cases:
        raise ToDoError(
            f"{folder}: {counts.get('train', 0)} cases to train on, the policy asks for {policy.minimum_cases}; add "
            f"cases, or change minimum_cases in {site.folder / FILE}"
        )
    said = "; ".join(f"{split} {found.cases} cases, {found.frames} frames" for split, found in report.splits.items())
    if counts.get("val", 0) < policy.minimum_scored_cases:
        said += "; too few val cases for scores to leave"
    return said

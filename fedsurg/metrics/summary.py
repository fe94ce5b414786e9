"""From frame scores to what a site and a federation reach: over frames, then cases, then sites.

The table of frame scores has one row per label of a frame (`COLUMNS`). A case is the unit of everything
statistical: frames of one operation resemble each other, and intervals over frames would be far too narrow.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from pandas import DataFrame

MEASURES = ("dice", "iou", "hd95", "nsd", "dice_lineage", "iou_lineage")
LOWER_IS_BETTER = frozenset({"hd95"})
PLACE = ("method", "fold", "seed", "site", "role", "model", "simulated", "case", "clip", "frame", "label")
COLUMNS = (*PLACE, *MEASURES)
# The models that are scored, by their names in the column `model`: a federated site's own; and at an unseen site the
# shared one, what was made of that for it, or where nothing is shared another site's own (this, and its name).
PERSONAL, GLOBAL = "personal", "global"
ADAPTED, FINETUNED, MEAN_QUERY, PERSONAL_OF = "adapted", "finetuned", "mean-query", "personal of "


@dataclass(frozen=True)
class FederationSummary:
    """One measure over a federation.

    `mean`, `worst_site`, `worst` and `spread` (standard deviation over sites, the population's) are over the
    federated sites; `unseen` holds each unseen site's value apart. NaN where no site has a value.
    """

    measure: str
    mean: float
    worst_site: str
    worst: float
    spread: float
    unseen: dict[str, float]


def mean_of_known(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN where there is none."""
    known = [value for value in values if not isnan(value)]
    return sum(known) / len(known) if known else nan


def case_means(scores: DataFrame) -> DataFrame:
    """Mean per case: over the frames for each label, then over the labels; NaN is skipped.

    Rows of several folds or seeds that scored the same case count as more frames of it.

    Returns:
        Columns `site`, `case`, the measures, and `frames` (different frames scored).

    Raises:
        ValueError: a column is missing, or scores of several methods or models are mixed.
    """
    _check(scores)
    labels = scores.groupby(["site", "case", "label"])[list(MEASURES)].mean()
    cases = labels.groupby(level=["site", "case"]).mean()
    frames = scores.drop_duplicates(["site", "case", "clip", "frame"]).groupby(["site", "case"]).size()
    return cases.assign(frames=frames).reset_index()


def site_means(scores: DataFrame) -> DataFrame:
    """Mean per site over its cases; the left-out cases of all folds are pooled first.

    Returns:
        Columns `site`, the measures, `cases` and `frames`; one row per site, sorted by name.

    Raises:
        ValueError: as `case_means`.
    """
    return over_cases(case_means(scores))


def over_cases(cases: DataFrame) -> DataFrame:
    """`site_means` from the table of `case_means`."""
    sites = cases.groupby("site")
    table = sites[list(MEASURES)].mean()
    return table.assign(cases=sites.size(), frames=sites["frames"].sum()).reset_index()


def by_case(cases: DataFrame, measure: str) -> dict[tuple[str, str], float]:
    """One measure of a table of `case_means` by (site, case), as `statistics.paired` takes it."""
    return {
        (str(site), str(case)): float(value)
        for site, case, value in zip(cases["site"], cases["case"], cases[measure], strict=True)
    }


def federation_summary(sites: DataFrame, unseen: Collection[str] = (), measure: str = "iou") -> FederationSummary:
    """Sum one measure of `site_means` up over the federated sites, and keep the `unseen` ones apart."""
    values = dict(zip(sites["site"].astype(str), sites[measure].astype(float), strict=True))
    apart = {site: value for site, value in values.items() if site in unseen}
    federated = {site: value for site, value in values.items() if site not in unseen and not np.isnan(value)}
    if not federated:
        return FederationSummary(measure, nan, "", nan, nan, apart)
    worst = (max if measure in LOWER_IS_BETTER else min)(federated, key=lambda site: federated[site])
    reached = np.array(list(federated.values()))
    return FederationSummary(measure, float(reached.mean()), worst, federated[worst], float(reached.std()), apart)


def _check(scores: DataFrame) -> None:
    """Refuse a table that cannot be averaged, or whose average would mean nothing."""
    missing = [name for name in ("site", "case", "clip", "frame", "label", *MEASURES) if name not in scores]
    if missing:
        raise ValueError(f"frame scores lack the columns {missing}; expected {list(COLUMNS)}")
    for name, group in (("method", []), ("model", ["site"])):
        if name not in scores:
            continue
        count = scores.groupby(group)[name].nunique().max() if group else scores[name].nunique()
        if len(scores) and count > 1:
            found = sorted(set(scores[name].astype(str)))
            raise ValueError(f"frame scores mix the {name}s {found}; select one before averaging")

"""Cross-validation over cases: each case of train and val is left out exactly once."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from fedsurg.data.site import SiteData
from fedsurg.errors import DataError


def case_folds(site: SiteData, folds: int) -> tuple[tuple[str, ...], ...]:
    """Deal the cases of train and val over `folds`; cases of a test split are in none.

    Fold 0 is the manifest's val split, if there is one, so the first fold is the split the hospital chose.
    The other cases go, largest first, to the fold with the fewest frames. The same manifest gives the same
    folds.

    Raises:
        DataError: fewer than two folds, or more folds than cases to fill them.
    """
    first, others = site.cases("val"), site.cases("train")
    check_folds(site.name, folds, len(others), len(first))
    dealt = _deal(_frame_counts(site, others), folds - 1 if first else folds)
    return (first, *dealt) if first else dealt


def check_folds(site: str, folds: int, train: int, val: int) -> None:
    """Whether a site's cases in train and val can be dealt.

    Raises:
        DataError: fewer than two folds, or more folds than cases to fill them.
    """
    if folds < 2:
        raise DataError(f"site {site!r}: {folds} folds leave nothing to train on; use 2 or more")
    if train < (folds - 1 if val else folds):
        taken = f", {val} of them in the val split (fold 0)" if val else ""
        raise DataError(
            f"site {site!r}: {folds} folds need more cases than its {val + train}{taken}; "
            f"use at most {train + bool(val)} folds, or the manifest's splits (folds = 0)"
        )


def with_fold(site: SiteData, held_out: Collection[str]) -> SiteData:
    """The site with `held_out` as its val split and all other cases of train and val as train.

    Raises:
        DataError: an unknown case, one of the test split, or no case left on either side.
    """
    movable = set(site.cases("train")) | set(site.cases("val"))
    strange = sorted(set(held_out) - movable)
    if strange:
        raise DataError(f"site {site.name!r}: {strange[0]!r} is no case of train or val; those are {sorted(movable)}")
    if not held_out or movable == set(held_out):
        raise DataError(
            f"site {site.name!r}: holding out {len(held_out)} of {len(movable)} cases leaves an empty split; "
            "train and val need one each"
        )
    inside = site.frames["case"].isin(list(held_out))
    split = site.frames["split"].mask(site.frames["split"] == "val", "train").mask(inside, "val")
    return replace(site, frames=site.frames.assign(split=split))


def _frame_counts(site: SiteData, cases: Sequence[str]) -> dict[str, int]:
    counts = site.frames["case"].value_counts()
    return {case: int(counts[case]) for case in cases}


def _deal(frames: dict[str, int], folds: int) -> tuple[tuple[str, ...], ...]:
    """Greedy balancing; an empty fold has the fewest frames, so none stays empty."""
    dealt: list[list[str]] = [[] for _ in range(folds)]
    for case in sorted(frames, key=lambda case: (-frames[case], case)):
        smallest = min(range(folds), key=lambda fold: (sum(frames[name] for name in dealt[fold]), fold))
        dealt[smallest].append(case)
    return tuple(tuple(sorted(cases)) for cases in dealt)

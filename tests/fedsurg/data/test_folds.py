"""Cross-validation: every case of train and val is held out exactly once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsurg.data.folds import case_folds, with_fold
from fedsurg.data.labels import LabelSpace
from fedsurg.data.site import SiteData, load_site
from fedsurg.errors import DataError
from fedsurg.study.config import TaskConfig

LABELS = LabelSpace(("background", "instrument"), ((0,), (1,)), (), 2)


def site_with(cases: dict[str, tuple[str, int]]) -> SiteData:
    """A site from case -> (split, number of frames); no files."""
    rows = [
        {"image": f"{case}{n}", "mask": f"m{case}{n}", "case": case, "clip": "a", "frame": n, "split": split}
        for case, (split, frames) in sorted(cases.items())
        for n in range(frames)
    ]
    return SiteData("north", "p", 25.0, False, Path(), LABELS, pd.DataFrame(rows), {0: 0, 255: 1})


def test_first_fold_is_val_and_the_rest_is_balanced() -> None:
    frames = {"a": 9, "b": 5, "c": 4, "d": 1}
    site = site_with({case: ("train", count) for case, count in frames.items()} | {"v": ("val", 3), "t": ("test", 2)})
    assert case_folds(site, 3) == (("v",), ("a", "d"), ("b", "c"))


def test_without_val_all_folds_are_dealt() -> None:
    site = site_with({case: ("train", count) for case, count in {"a": 9, "b": 5, "c": 4, "d": 1}.items()})
    assert case_folds(site, 2) == (("a", "d"), ("b", "c"))


def test_holding_a_fold_out_moves_cases_between_train_and_val_only() -> None:
    site = site_with({"a": ("train", 2), "b": ("train", 2), "v": ("val", 2), "t": ("test", 2)})
    held = with_fold(site, ("b",))
    assert (held.cases("train"), held.cases("val"), held.cases("test")) == (("a", "v"), ("b",), ("t",))
    assert site.cases("val") == ("v",)  # the original is as it was
    pd.testing.assert_frame_equal(held.frames.drop(columns="split"), site.frames.drop(columns="split"))


CASES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.tuples(st.sampled_from(["train", "train", "val", "test"]), st.integers(1, 6)),
    min_size=1,
    max_size=9,
)


@settings(deadline=None, max_examples=50)
@given(CASES, st.integers(2, 6))
def test_every_case_is_held_out_exactly_once(cases: dict[str, tuple[str, int]], folds: int) -> None:
    site = site_with(cases)
    movable = sorted(case for case, (split, _) in cases.items() if split != "test")
    try:
        dealt = case_folds(site, folds)
    except DataError:
        others = site.cases("train")
        assert len(others) < folds - bool(site.cases("val"))
        return
    assert len(dealt) == folds
    assert all(dealt)
    assert sorted(case for fold in dealt for case in fold) == movable
    assert dealt == case_folds(replace(site, frames=site.frames[::-1]), folds)
    for fold in dealt:
        held = with_fold(site, fold)
        assert held.cases("val") == fold
        assert set(held.cases("train")) == set(movable) - set(fold)
        assert held.cases("test") == site.cases("test")


def test_too_many_folds(site: SiteData) -> None:
    with pytest.raises(DataError, match=r"site 'north': 4 folds need more cases than its 3, 1 of them in the val"):
        case_folds(site, 4)
    with pytest.raises(DataError, match="use at most 3 folds"):
        case_folds(site, 4)
    with pytest.raises(DataError, match="1 folds leave nothing to train on; use 2 or more"):
        case_folds(site, 1)


def test_holding_out_what_cannot_be(write_site: Callable[..., Path], task: TaskConfig) -> None:
    site = load_site(write_site([("a", "a", 0, "train"), ("b", "a", 0, "val"), ("c", "a", 0, "test")]), task)
    with pytest.raises(DataError, match=r"'c' is no case of train or val; those are \['a', 'b'\]"):
        with_fold(site, ("c",))
    for everything_or_nothing in (("a", "b"), ()):
        with pytest.raises(DataError, match="leaves an empty split; train and val need one each"):
            with_fold(site, everything_or_nothing)

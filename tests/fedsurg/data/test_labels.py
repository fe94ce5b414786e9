"""How a site's names become labels of the study's classes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsurg.data.labels import IGNORE, is_instrument, label_indices, label_space
from fedsurg.data.site_file import SiteFile
from fedsurg.errors import DataError
from fedsurg.study.config import TaskConfig

PARTS = TaskConfig(classes=("background", "shaft", "wrist", "clasper"))


def site_file(**keys: object) -> SiteFile:
    return SiteFile.model_validate({"name": "north", "procedure": "p", **keys})


def test_class_by_class() -> None:
    site = site_file(mask_values={"shaft": 1, "background": 0, "clasper": 3, "wrist": 2})
    space = label_space(site, PARTS)
    assert space.names == ("background", "shaft", "wrist", "clasper")
    assert space.members == ((0,), (1,), (2,), (3,))
    assert label_indices(site, PARTS, space) == {0: 0, 1: 1, 2: 2, 3: 3}


def test_included_names_become_one_label_named_after_the_class() -> None:
    task = TaskConfig(classes=("background", "instrument"), includes={"instrument": ("grasper", "hook")})
    site = site_file(mask_values={"background": 0, "grasper": [4, 5], "hook": 9}, ignore_values=[7])
    space = label_space(site, task)
    assert space.names == ("background", "instrument")
    assert label_indices(site, task, space) == {0: 0, 4: 1, 5: 1, 9: 1, 7: IGNORE}


def test_union_covers_several_classes() -> None:
    site = site_file(mask_values={"background": 0, "tool": 1, "shaft": 2}, unions={"tool": ["clasper", "wrist"]})
    space = label_space(site, PARTS)
    assert (space.names, space.members) == (("background", "shaft", "tool"), ((0,), (1,), (2, 3)))
    assert space.membership().int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]


def test_two_unions_of_the_same_classes_are_one_label() -> None:
    whole = ["shaft", "wrist", "clasper"]
    site = site_file(mask_values={"background": 0, "grasper": 1, "hook": 2}, unions={"grasper": whole, "hook": whole})
    space = label_space(site, PARTS)
    assert space.names == ("background", "grasper")
    assert label_indices(site, PARTS, space) == {0: 0, 1: 1, 2: 1}


def test_instrument_is_the_union_of_everything_labelled() -> None:
    space = label_space(site_file(mask_values={"background": 0, "instrument": 1}, missing=["wrist"]), PARTS)
    assert space.names == ("background", "instrument")
    assert space.members == ((0,), (1, 3))
    assert space.missing == (2,)


def test_union_is_not_needed_by_a_study_of_whole_instruments() -> None:
    site = site_file(mask_values={"background": 0, "instrument": 1}, unions={"instrument": ["shaft", "wrist"]})
    assert label_space(site, TaskConfig()).members == ((0,), (1,))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"mask_values": {"background": 0, "needle": 1}},
            "S: mask_values.needle is no class of the study; allowed are background, shaft, wrist, clasper",
        ),
        (
            {"mask_values": {"background": 0, "shaft": 1, "wrist": 2}},
            "S: class 'clasper' of the study is neither in mask_values (background, shaft, wrist) nor "
            "declared missing; give its mask value, or add missing = ['clasper']",
        ),
        (
            {"mask_values": {"background": 0, "instrument": 1, "shaft": 2}},
            "S: class 'shaft' is covered by both 'instrument' and 'shaft'",
        ),
        (
            {"mask_values": {"background": 0, "shaft": 1, "wrist": 2, "clasper": 3}, "missing": ["wrist"]},
            "S: missing lists 'wrist', but mask_values labels it",
        ),
        (
            {"mask_values": {"background": 0, "tool": 1}, "unions": {"tool": ["shaft", "handle"]}},
            "S: unions.tool lists ['handle']; allowed are the study's classes background, shaft, wrist",
        ),
        (
            {"mask_values": {"background": 0, "tool": 1}, "unions": {"tool": []}},
            "S: unions.tool lists nothing",
        ),
        (
            {"mask_values": {"instrument": 1}, "missing": ["background"]},
            "S: the background, 'background', needs a mask value of its own",
        ),
        (
            {"mask_values": {"background": 0, "instrument": 1}, "missing": ["shaft", "wrist", "clasper"]},
            "S: 'instrument' covers no class",
        ),
    ],
)
def test_names_that_do_not_fit(keys: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as error:
        label_space(site_file(**keys), PARTS, where="S")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@settings(deadline=None)  # the first example imports torch
@given(st.lists(st.integers(-1, 4), min_size=2, max_size=8))
def test_every_class_is_in_one_label_or_missing(groups: list[int]) -> None:
    """Any grouping of the classes, -1 for missing, comes back as it went in."""
    classes = tuple(f"c{number}" for number in range(len(groups)))
    unions: dict[str, list[str]] = {}
    for name, group in zip(classes, groups, strict=True):
        if group >= 0:
            unions.setdefault(f"g{group}", []).append(name)
    values = {"background": 0} | {name: value for value, name in enumerate(unions, start=1)}
    missing = [name for name, group in zip(classes, groups, strict=True) if group < 0]
    site = site_file(mask_values=values, unions=unions, missing=missing)
    space = label_space(site, TaskConfig(classes=("background", *classes)))
    covered = space.membership().int().sum(0)
    assert [int(count) for count in covered] == [1, *(int(group >= 0) for group in groups)]
    grouped = {group: tuple(n for n, one in enumerate(groups, 1) if one == group) for group in groups if group >= 0}
    assert set(space.members) == {(0,), *grouped.values()}


def test_an_instrument_is_what_is_named_and_not_the_background() -> None:
    label = np.array([[0, 1], [3, IGNORE]], np.uint8)
    for given_map in (label, torch.from_numpy(label).long()):
        assert is_instrument(given_map).tolist() == [[False, True], [True, False]]

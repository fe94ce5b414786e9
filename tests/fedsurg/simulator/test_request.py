"""What a request refuses, how cases are dealt and what its digest depends on."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from fedsurg.errors import SimulatorError
from fedsurg.simulator import PROFILES, RenderRequest
from fedsurg.simulator.assets import Assets, Picture
from fedsurg.simulator.dataset import render
from fedsurg.simulator.profiles import profile_named

REQUEST = RenderRequest(("abdominal", "eye"), clips=4, frames=2, seed=1, height=48, width=64)
CHANGED = {
    "profiles": ("eye",),
    "clips": 5,
    "frames": 3,
    "seed": 2,
    "height": 49,
    "width": 65,
    "site": "other",
    "procedure": "other",
    "cases": 2,
    "val_cases": 1,
    "test_cases": 1,
    "whole_instruments": True,
    "look_seed": 0,
    "frame_rate_hz": 9.0,
    "labels": ("parts", "depth"),
    "video": True,
    "plain": ("texture",),
    "worn": True,
    "assets": Assets((Picture("a.jpg", Path("a.jpg"), "0" * 64),)),
}


def test_digest_depends_on_every_field() -> None:
    digests = {replace(REQUEST, **{field.name: CHANGED[field.name]}).digest() for field in fields(REQUEST)}
    assert len(digests | {REQUEST.digest()}) == len(fields(REQUEST)) + 1


def test_digest_of_equal_requests_is_equal() -> None:
    assert replace(REQUEST).digest() == REQUEST.digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profiles": ("moon",)}, "'moon' is unknown; choose from abdominal, kidney_bed"),
        ({"profiles": ()}, "at least one profile"),
        ({"clips": 0}, "clips is 0; it must be at least 1"),
        ({"frames": -1}, "frames is -1; it must be at least 1"),
        ({"height": 8}, "height is 8; it must be at least 16"),
        ({"width": 70000}, "width is 70000; it must be at most 8192"),
        ({"height": 99999999, "width": 99999999}, "height is 99999999; it must be at most 8192"),
        ({"cases": 9}, "cases is 9, but there are only 4 clips"),
        ({"val_cases": 3, "test_cases": 2}, "val_cases + test_cases is 5; there are only 4 cases"),
        ({"frame_rate_hz": 0.0}, "frame_rate_hz is 0.0"),
        ({"clips": 50_000_000}, "clips is 50000000; it must be at most 1000000"),
        ({"frames": 50_000_000}, "frames is 50000000; it must be at most 1000000"),
        ({"frame_rate_hz": float("inf")}, "frame_rate_hz is inf; it must be above 0 and below 1000000"),
        ({"frame_rate_hz": 1e-8}, "2 frames at frame_rate_hz 1e-08 are a clip of more than a day"),
        ({"site": "x\udcff"}, "which is not all text; give it in UTF-8"),
        ({"site": " "}, "site is empty; give what site.toml is to say"),
        ({"procedure": ""}, "procedure is empty; give what site.toml is to say"),
        ({"frame_rate_hz": float("nan")}, "frame_rate_hz is nan"),
        ({"labels": ("parts", "flow")}, "label 'flow' is unknown; choose from parts, instances, depth"),
        ({"labels": ("depth",)}, "labels are depth; name each once, and always parts"),
        ({"labels": ()}, "labels are empty; name each once"),
        ({"labels": ("parts", "parts")}, "labels are parts,parts; name each once"),
        ({"height": 47, "video": True}, "video needs an even height and width, not 47x64"),
    ],
)
def test_impossible_requests_are_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(SimulatorError) as problem:
        render(replace(REQUEST, **change), tmp_path / "out")
    assert message in str(problem.value)
    assert list(tmp_path.iterdir()) == []


def test_the_order_of_labels_means_nothing() -> None:
    one, two = (replace(REQUEST, labels=labels) for labels in (("parts", "depth"), ("depth", "parts")))
    assert one.digest() == two.digest()


def test_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match="workers is 0"):
        render(REQUEST, tmp_path / "out", workers=0)


def test_last_cases_are_held_out_and_a_case_has_one_profile() -> None:
    request = replace(REQUEST, clips=8, cases=4, val_cases=1, test_cases=1)
    assert [request.case_of(clip) for clip in range(8)] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert [request.split_of(clip) for clip in range(4)] == ["train", "train", "val", "test"]
    assert [request.profile_of(clip) for clip in range(4)] == ["abdominal", "eye", "abdominal", "eye"]
    assert request.profile_of(1) == request.profile_of(5)


def test_profiles_have_weights_and_ordered_ranges() -> None:
    for name, profile in PROFILES.items():
        assert profile_named(name) is profile
        assert sum(profile.counts) == pytest.approx(1)
        for low, high in (profile.radius_mm, profile.distance_mm, (profile.reach, 1.0), profile.view_deg):
            assert 0 < low <= high

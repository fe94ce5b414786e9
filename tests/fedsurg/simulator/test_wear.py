"""A worn camera, by hand on small pictures, and in a clip."""

from dataclasses import replace

import numpy as np
import pytest

from fedsurg.simulator.clip import Clip, ClipSeeds, Frame, draw_clip, look_of, photographed, taken
from fedsurg.simulator.ingredients import Recipe
from fedsurg.simulator.painter import Shot
from fedsurg.simulator.profiles import PROFILES
from fedsurg.simulator.sight import Sight
from fedsurg.simulator.wear import Wear, bent, draw_wear, recorded

CLEAN = Wear(0.0, combed=None, quantiser=0.0)


def test_a_lens_that_bends_magnifies_the_middle_and_keeps_middle_and_corners() -> None:
    rows, columns = np.mgrid[:41, :41].astype(float)
    away = np.hypot(rows - 20, columns - 20)
    seen = bent(away, 0.3, labels=False)
    assert seen[20, 20] == pytest.approx(0, abs=1e-6)
    assert seen[0, 0] == pytest.approx(away[0, 0])
    assert seen[20, 25] == pytest.approx(5 / 1.3, rel=0.02)  # what is seen at 5 pixels lies at 5 / 1.3


def test_labels_stay_labels() -> None:
    labels = np.zeros((32, 48), np.uint8)
    labels[8:24, 12:30] = 3
    assert set(np.unique(bent(labels, 0.4, labels=True))) == {0, 3}
    assert bent(labels, 0.0, labels=True) is labels


def test_a_combed_picture_holds_lines_of_both_moments() -> None:
    now, before = np.full((8, 8, 3), 200, np.uint8), np.full((8, 8, 3), 100, np.uint8)
    kept = recorded(now, lambda: before, replace(CLEAN, combed=1))
    assert (kept[0::2] == 200).all() and (kept[1::2] == 100).all()
    assert recorded(now, lambda: before, CLEAN) is now


def test_recorders_differ() -> None:
    worn = [draw_wear(np.random.default_rng(seed)) for seed in range(60)]
    assert {wear.combed for wear in worn} == {None, 0, 1}
    assert len({wear.corner for wear in worn}) > 20


def test_a_recorder_weaves_the_same_lines_in_all_frames() -> None:
    clip = next(c for seed in range(60) if (c := worn_clip(seed)).look.wear and c.look.wear.combed is not None)
    assert clip.look.wear
    recorder = replace(clip.look.wear, quantiser=0.0, bend=0.0)
    lines = slice(recorder.combed, None, 2)
    combed = replace(clip, look=replace(clip.look, wear=recorder))
    plain = replace(clip, look=replace(clip.look, wear=replace(recorder, combed=None)))
    painter, differ = clip.painter(), []
    for number, time in ((1, 0.3), (2, 0.6)):
        woven, whole = (shown.frame(painter, number, time).picture for shown in (combed, plain))
        other = np.delete(woven, np.r_[: len(woven)][lines], axis=0)
        assert np.array_equal(other, np.delete(whole, np.r_[: len(whole)][lines], axis=0))
        differ.append(not np.array_equal(woven[lines], whole[lines]))
    assert all(differ)


def worn_clip(seed: int) -> Clip:
    return draw_clip(PROFILES["uterus"], ClipSeeds(seed, 4, 5), 48, 64, 1.0, Recipe(worn=True))


def test_smoke_is_bent_with_what_it_rises_from() -> None:
    clip = worn_clip(0)
    look = replace(clip.look.without(frozenset({"nuisance"})), wear=replace(CLEAN, bend=0.4))
    black = np.zeros((48, 64))
    shot = Shot(np.zeros((48, 64, 3)), black.astype(np.uint8), black.astype(np.uint8), black)
    smoke = black.copy()
    smoke[24, 48] = 1.0
    bright = photographed(shot, look, Sight(smoke=smoke), 0).picture.sum(axis=2)
    assert np.unravel_index(bright.argmax(), bright.shape)[1] > 50  # magnified by 1.4 in the middle


def test_a_worn_camera_changes_pictures_and_is_the_same_again() -> None:
    seeds = next(
        seeds
        for seed in range(50)
        if (wear := look_of(PROFILES["uterus"], seeds := ClipSeeds(seed, 4, 5), Recipe(worn=True)).wear)
        and wear.bend
        and wear.combed is not None
        and wear.quantiser
    )

    def frame(recipe: Recipe):
        clip = draw_clip(PROFILES["uterus"], seeds, 48, 64, 1.0, recipe)
        return clip.frame(clip.painter(), 1, 0.5)

    worn, again, usual = frame(Recipe(worn=True)), frame(Recipe(worn=True)), frame(Recipe())
    assert np.array_equal(worn.picture, again.picture)
    assert not np.array_equal(worn.picture, usual.picture)
    assert worn.parts.any()
    assert not np.array_equal(worn.parts, usual.parts)  # the labels bend with the picture
    assert np.array_equal(worn.parts > 0, worn.instances > 0)  # all of them
    assert (worn.depth[worn.parts > 0] < usual.depth.max()).all() and not np.array_equal(worn.depth, usual.depth)


def test_the_first_frame_of_a_clip_is_whole() -> None:
    asked: list[float] = []

    def frame_at(time: float) -> Frame:
        asked.append(time)
        return Frame(np.zeros((8, 8, 3), np.uint8), *(np.zeros((8, 8), np.uint8),) * 2, np.zeros((8, 8)))

    look = replace(worn_clip(0).look, wear=replace(CLEAN, combed=1))
    for time in (0.0, 0.5):
        taken(frame_at, time, look)
    assert asked == [0.0, 0.0, 0.5, pytest.approx(0.48)]

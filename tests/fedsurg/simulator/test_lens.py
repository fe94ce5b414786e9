"""Drops and mist on a lens, by hand on small pictures."""

import numpy as np

from fedsurg.simulator.lens import Drop, Lens, draw_lens, wetted

NEVER = -np.inf
EVEN = np.ones((64, 64))


def test_blood_on_the_lens_is_red_and_stays_where_it_is() -> None:
    grey = np.full((40, 60, 3), 120, np.uint8)
    wet = wetted(grey, Lens((Drop(0.5, 0.5, 0.05, 1.0),), 0.0, EVEN))
    assert wet[20, 30, 0] > wet[20, 30, 1] + 30
    assert np.array_equal(wet[:5], grey[:5])
    assert wetted(grey, Lens((), 0.0, EVEN)) is grey


def test_mist_takes_contrast_away_where_it_is_thick() -> None:
    striped = np.where(np.arange(64)[None, :, None] % 2 > 0, 200, 40).repeat(48, axis=0).repeat(3, axis=2)
    half = EVEN.copy()
    half[:, :32] = 0
    wet = wetted(striped.astype(np.uint8), Lens((), 0.5, half)).astype(int)
    assert np.ptp(wet[:, 2:26]) == 160
    assert np.ptp(wet[:, 38:62]) < 90


def test_what_is_on_the_lens_stays_until_it_is_wiped_and_new_drops_come() -> None:
    there, later = Drop(0.1, 0.1, 0.05, 0.0), Drop(0.5, 0.5, 0.05, 1.0, since=4.0)
    lens = Lens((there, later), 0.3, EVEN)
    assert (lens.at(1.0, NEVER).drops, lens.at(1.0, NEVER).mist) == ((there,), 0.3)
    assert lens.at(5.0, NEVER).drops == (there, later)
    assert (lens.at(3.0, 2.0).drops, lens.at(3.0, 2.0).mist) == ((), 0.0)
    assert lens.at(5.0, 2.0).drops == (later,)
    assert lens.at(7.0, 6.0).drops == ()


def test_some_lenses_are_clean_and_some_are_splashed_in_the_middle() -> None:
    lenses = [draw_lens(np.random.default_rng(seed), 20.0) for seed in range(40)]
    assert {bool(lens.drops) for lens in lenses} == {True, False}
    assert {bool(lens.mist) for lens in lenses} == {True, False}
    assert any(0 < drop.since < 20 for lens in lenses for drop in lens.drops)

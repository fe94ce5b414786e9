"""Motion blur on small pictures."""

import numpy as np

from fedsurg.simulator.motion_blur import smeared


def scene() -> tuple[np.ndarray, np.ndarray]:
    light, instances = np.full((20, 60, 3), 0.2), np.zeros((20, 60), np.uint8)
    instances[:, 28:32] = 1
    light[instances == 1] = 1.0
    return light, instances


def test_a_bar_that_moves_across_is_drawn_out_and_keeps_its_light() -> None:
    light, instances = scene()
    blurred = smeared(light, instances, {1: (4.0, 0.0)})
    row = blurred[10, :, 0]
    assert np.isclose((row - 0.2).sum(), 4 * 0.8)  # what four columns had above the background
    assert np.isclose(row[26], 0.2 + 0.8 / 5) and np.isclose(row[29:31], 0.2 + 0.8 * 4 / 5).all()
    assert np.allclose(row[:26], 0.2) and np.allclose(row[34:], 0.2)
    assert np.allclose(row, row[::-1])


def test_motion_along_a_bar_that_leaves_the_picture_changes_nothing() -> None:
    light, instances = scene()
    assert np.allclose(smeared(light, instances, {1: (0.0, 4.0)}), light)


def test_slow_and_absent_instruments_stay_sharp() -> None:
    light, instances = scene()
    assert smeared(light, instances, {1: (0.5, 0.0), 2: (9.0, 0.0)}) is light


def test_a_very_fast_one_is_smeared_only_so_far() -> None:
    light, instances = scene()
    row = smeared(light, instances, {1: (500.0, 0.0)})[10, :, 0]
    assert np.allclose(row[:24], 0.2) and np.allclose(row[36:], 0.2)


def test_tissue_that_moves_across_blurs_behind_an_instrument_that_does_not() -> None:
    light, instances = scene()
    light[:, 10:12] = 1.0
    blurred = smeared(light, instances, {0: (4.0, 0.0)})
    assert np.allclose(blurred[instances == 1], 1.0)
    row = blurred[10, :, 0]
    assert np.isclose((row[:28] - 0.2).sum(), 2 * 0.8)
    assert np.isclose(row[10:12], 0.2 + 0.8 * 2 / 5).all() and np.allclose(row[32:], 0.2)
    assert np.allclose(row[24:28], 0.2)  # the instrument's light does not spill into what is behind it

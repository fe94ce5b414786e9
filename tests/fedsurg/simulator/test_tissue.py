"""Beds of tissue: what lies on them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from fedsurg.simulator.profiles import LIVER, PROFILES
from fedsurg.simulator.tissue import make_bed

BARE = replace(PROFILES["liver"], tissues=((LIVER, 1),), blood=0, char=0, films=0, fibres=0)
SIDE = 160
RED = 2.5  # liver reflects more than this times as much red as green; pale things do not


def longest_pale(bands: float, seed: int) -> tuple[float, float]:
    """Diagonal of the largest pale area and its share of the bed, both as shares of the bed."""
    colour = make_bed(replace(BARE, bands=bands), np.random.default_rng(seed), SIDE, 100.0).colour
    areas, count = ndimage.label(colour[..., 0] < RED * colour[..., 1])
    if not count:
        return 0.0, 0.0
    largest = 1 + int(np.bincount(areas.ravel())[1:].argmax())
    rows, columns = ndimage.find_objects(areas)[largest - 1]
    diagonal = np.hypot(rows.stop - rows.start, columns.stop - columns.start)
    return float(diagonal / SIDE), float((areas == largest).mean())


@pytest.mark.parametrize("seed", range(8))
def test_ligaments_cross_a_liver_as_long_slim_pale_bands(seed: int) -> None:
    length, share = longest_pale(1.0, seed)
    assert length > 0.25
    assert share < 0.15 * length**2  # of a square with that diagonal it would be half of its square


def test_nothing_pale_lies_on_a_bare_liver_without_them() -> None:
    assert max(longest_pale(0.0, seed)[1] for seed in range(8)) < 0.005

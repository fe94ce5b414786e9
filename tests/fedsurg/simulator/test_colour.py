"""Colour spaces by published numbers, and the laws of matching."""

import numpy as np
import pytest

from fedsurg.simulator.colour import display_of, lab_of, linear_of, linear_of_lab, matched, palette_of


def test_lab_of_red_and_white() -> None:
    # http://www.brucelindbloom.com: sRGB red and white under D65.
    assert lab_of(np.array([1.0, 0, 0])) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert lab_of(np.ones(3)) == pytest.approx([100, 0, 0], abs=0.01)


def test_conversions_are_undone() -> None:
    light = np.random.default_rng(0).random((50, 3))
    assert np.allclose(linear_of_lab(lab_of(light)), light, atol=1e-6)
    assert np.allclose(linear_of(display_of(light)), light, atol=1e-6)
    assert linear_of(np.array(0.5)) == pytest.approx(0.2140, abs=1e-4)


def test_full_matching_takes_over_the_palette_and_none_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    blue, target = 0.2 + 0.1 * rng.random((400, 3)) * (0.3, 0.3, 1), 0.3 + 0.1 * rng.random((400, 3))
    own, other = palette_of(blue), palette_of(target)
    assert np.allclose(matched(blue, own, other, 0.0), blue, atol=1e-6)
    moved = palette_of(matched(blue, own, other, 1.0))
    assert np.allclose(moved.mean, other.mean, atol=0.5)
    half = palette_of(matched(blue, own, other, 0.5))
    assert np.allclose(half.mean, (own.mean + other.mean) / 2, atol=0.5)

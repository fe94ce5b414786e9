"""Depth of field: what is near the lens is blurred, the rest and the amount of light stay."""

import numpy as np

from fedsurg.simulator.focus import defocused

SIZE = (60, 192)
EDGE = 96


def scene(near_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """A bright bar in the middle at `near_mm` before a dark wall at 80 mm; light and depth."""
    depth, light = np.full(SIZE, 80.0), np.full((*SIZE, 3), 0.1)
    depth[:, EDGE - 10 : EDGE + 10], light[:, EDGE - 10 : EDGE + 10] = near_mm, 1.0
    return light, depth


def steepness(light: np.ndarray) -> float:
    return float(np.abs(np.diff(light[30, :, 0])).max())


def test_nearer_is_more_blurred_and_light_is_kept() -> None:
    edges = []
    for near in (79.0, 40.0, 25.0):
        light, depth = scene(near)
        blurred = defocused(light, depth, 0.8)
        edges.append(steepness(blurred))
        assert abs(blurred.mean() / light.mean() - 1) < 0.01
        assert np.allclose(blurred[:, :40], light[:, :40], atol=1e-6)
    assert edges[0] == steepness(light) > 1.5 * edges[1] > 2 * edges[2]


def test_a_pinhole_and_an_empty_scene_stay_sharp() -> None:
    light, depth = scene(25.0)
    assert defocused(light, depth, 0.0) is light
    assert np.array_equal(defocused(light, np.zeros(SIZE), 0.8), light)


def test_the_blur_grows_with_the_picture() -> None:
    light, depth = scene(25.0)
    large = defocused(np.repeat(np.repeat(light, 2, 0), 2, 1), np.repeat(np.repeat(depth, 2, 0), 2, 1), 0.8)
    assert np.allclose(large[1::2, 1::2][10:50], defocused(light, depth, 0.8)[10:50], atol=0.08)

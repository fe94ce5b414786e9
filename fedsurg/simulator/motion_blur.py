"""Blur of what moves while the shutter is open, tissue as the camera goes and instruments, made of a sharp picture.

An approximation: the tissue and each instrument are smeared along one straight line each, and labels stay those of the
middle of the exposure.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from fedsurg.simulator.fields import Field

SLOWEST = 0.8  # pixels: nobody sees less
FARTHEST = 0.08  # of the picture's width


def smeared(light: Field, instances: NDArray[np.uint8], ways: Mapping[int, tuple[float, float]]) -> Field:
    """`light` (h, w, 3) with the tissue and each instrument drawn out along its way.

    `instances` (h, w) numbers them, the tissue is 0; `ways` are the pixels (across, down) covered during the exposure.
    """
    for number, way in sorted(ways.items()):  # the tissue before what is in front of it
        length = float(np.hypot(*way))
        mask = instances == number
        if length < SLOWEST or not mask.any():
            continue
        short = min(1.0, FARTHEST * light.shape[1] / length)
        drawn_out = _over_surroundings if number else _behind
        light = drawn_out(light, mask, (way[0] * short, way[1] * short))
    return light


def _behind(light: Field, mask: NDArray[np.bool_], way: tuple[float, float]) -> Field:
    """The masked thing, averaged over places along its way; what is not masked stays in front of it."""
    total = _along(light, mask, way)
    drawn: Field = np.where(mask[..., None], total[..., :3] / np.maximum(total[..., 3:], 1e-9), light)
    return drawn


def _over_surroundings(light: Field, mask: NDArray[np.bool_], way: tuple[float, float]) -> Field:
    """The masked thing, averaged over places along its way, over what surrounds it."""
    total = _along(light, mask, way)
    nearest = distance_transform_edt(mask, return_distances=False, return_indices=True)
    behind = light[tuple(nearest)]  # the nearest pixel beside it stands for what it hides
    smear: Field = total[..., :3] + (1 - total[..., 3:]) * behind
    return smear


def _along(light: Field, mask: NDArray[np.bool_], way: tuple[float, float]) -> Field:
    """Mean (h, w, 4) of the masked light, and of the mask, over places along the way."""
    taps = 2 * int(np.ceil(max(abs(way[0]), abs(way[1])) / 2)) + 1
    layer = np.concatenate([light * mask[..., None], mask[..., None]], axis=2)
    total = np.zeros_like(layer)
    for share in np.linspace(-0.5, 0.5, taps):
        total += _shifted(layer, round(way[0] * share), round(way[1] * share))
    return total / taps


def _shifted(layer: Field, across: int, down: int) -> Field:
    """The layer moved by whole pixels; edges repeat, for an instrument that enters there goes on."""
    height, width = layer.shape[:2]
    rows, columns = np.arange(height) - down, np.arange(width) - across
    return layer[np.clip(rows, 0, height - 1)][:, np.clip(columns, 0, width - 1)]

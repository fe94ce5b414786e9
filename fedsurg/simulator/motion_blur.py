"""Blur of instruments that move while the shutter is open, painted over a sharp picture.

An approximation: each instrument is smeared along one straight line, and its label stays that of the middle of the
exposure.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from fedsurg.simulator.fields import Field

SLOWEST = 0.8  # pixels: nobody sees less
FARTHEST = 0.08  # of the picture's width


def smeared(light: Field, instances: NDArray[np.uint8], ways: Mapping[int, tuple[float, float]]) -> Field:
    """`light` (h, w, 3) with each instrument, numbered in `instances` (h, w), drawn out along its way.

    `ways` are the pixels (across, down) that an instrument covers during the exposure.
    """
    for number, way in ways.items():
        length = float(np.hypot(*way))
        mask = instances == number
        if length < SLOWEST or not mask.any():
            continue
        short = min(1.0, FARTHEST * light.shape[1] / length)
        light = _drawn_out(light, mask, (way[0] * short, way[1] * short))
    return light


def _drawn_out(light: Field, mask: NDArray[np.bool_], way: tuple[float, float]) -> Field:
    """The masked thing, averaged over places along its way, over what surrounds it."""
    taps = 2 * int(np.ceil(max(abs(way[0]), abs(way[1])) / 2)) + 1
    layer = np.concatenate([light * mask[..., None], mask[..., None]], axis=2)
    total = np.zeros_like(layer)
    for share in np.linspace(-0.5, 0.5, taps):
        total += _shifted(layer, round(way[0] * share), round(way[1] * share))
    nearest = distance_transform_edt(mask, return_distances=False, return_indices=True)
    behind = light[tuple(nearest)]  # the nearest pixel beside it stands for what it hides
    smear: Field = total[..., :3] / taps + (1 - total[..., 3:] / taps) * behind
    return smear


def _shifted(layer: Field, across: int, down: int) -> Field:
    """The layer moved by whole pixels; edges repeat, for an instrument that enters there goes on."""
    height, width = layer.shape[:2]
    rows, columns = np.arange(height) - down, np.arange(width) - across
    return layer[np.clip(rows, 0, height - 1)][:, np.clip(columns, 0, width - 1)]

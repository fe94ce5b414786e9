"""A worn camera: a lens that bends and a poor recording. Off unless it is asked for; `lens` has what sticks to it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from fedsurg.simulator.fields import Rng
from fedsurg.simulator.recording import BLOCK, Pixels, compressed, interlaced

HALF_FRAME_S = 0.02  # between the two fields of an interlaced picture, at 25 frames a second


@dataclass(frozen=True)
class Wear:
    """What a worn camera and its recorder do beside what a `Look` does, to every picture.

    Attributes:
        bend: barrel distortion; 0.3 magnifies the middle by 1.3 and leaves the corners where they are.
        combed: the line, 0 or 1, with which the earlier of two interlaced fields begins; None: not interlaced.
        quantiser: of the recording, as in H.264; 0 for none.
        corner: row and column where its blocks begin.
    """

    bend: float
    combed: int | None
    quantiser: float
    corner: tuple[int, int] = (0, 0)


def draw_wear(rng: Rng) -> Wear:
    """A random worn camera; not everything is wrong with each."""
    row, column = (int(start) for start in rng.integers(0, BLOCK, 2))
    return Wear(
        bend=rng.uniform(0.05, 0.4) if rng.random() < 0.7 else 0.0,
        combed=int(rng.integers(2)) if rng.random() < 0.3 else None,
        quantiser=rng.uniform(22, 33) if rng.random() < 0.6 else 0.0,
        corner=(row, column),
    )


def bent(values: NDArray[Any], bend: float, *, labels: bool) -> NDArray[Any]:
    """(h, w) or (h, w, c) seen through a lens that bends; labels take the nearest value, light is interpolated."""
    if not bend:
        return values
    height, width = values.shape[:2]
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    rows, columns = np.mgrid[:height, :width].astype(float)
    away = np.hypot(rows - middle[0], columns - middle[1]) / np.hypot(*middle)
    pull = (1 + bend * away**2) / (1 + bend)
    where = [middle[0] + (rows - middle[0]) * pull, middle[1] + (columns - middle[1]) * pull]
    layers = values.reshape(height, width, -1)
    seen = [
        map_coordinates(layer, where, order=0 if labels else 1, mode="nearest") for layer in layers.T.swapaxes(1, 2)
    ]
    return np.stack(seen, axis=-1).reshape(values.shape).astype(values.dtype)


def recorded(picture: Pixels, earlier: Callable[[], Pixels], wear: Wear) -> Pixels:
    """A picture (h, w, 3) as the recorder kept it; `earlier` gives that of `HALF_FRAME_S` before, if it is needed."""
    if wear.combed is not None:
        picture = interlaced(picture, earlier(), wear.combed)
    return compressed(picture, wear.quantiser, wear.corner) if wear.quantiser else picture

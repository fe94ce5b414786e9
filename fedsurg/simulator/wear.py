"""A worn camera: a lens that bends, drops and mist on it, and a poor recording. Off unless it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from fedsurg.simulator.fields import Rng, fractal
from fedsurg.simulator.recording import Pixels, compressed, interlaced

HALF_FRAME_S = 0.02  # between the two fields of an interlaced picture, at 25 frames a second


@dataclass(frozen=True)
class Drop:
    """Fluid on the lens: middle and radius as shares of the picture's width; `red` 0 is water, 1 is blood."""

    across: float
    down: float
    radius: float
    red: float


@dataclass(frozen=True)
class Wear:
    """What a worn camera does beside what a `Look` does.

    Attributes:
        bend: barrel distortion; 0.3 magnifies the middle by 1.3 and leaves the corners where they are.
        drops: on the lens, out of focus.
        mist: share of a veil of condensation, 0 to 1.
        combed: recorded interlaced.
        quantiser: of the recording, as in H.264; 0 for none.
    """

    bend: float
    drops: tuple[Drop, ...]
    mist: float
    combed: bool
    quantiser: float


def draw_wear(rng: Rng) -> Wear:
    """A random worn camera; not everything is wrong with each."""
    count = int(rng.integers(1, 5)) if rng.random() < 0.4 else 0
    drops = tuple(
        Drop(rng.random(), rng.random(), rng.uniform(0.02, 0.09), float(rng.random() < 0.4)) for _ in range(count)
    )
    return Wear(
        bend=rng.uniform(0.05, 0.4) if rng.random() < 0.7 else 0.0,
        drops=drops,
        mist=rng.uniform(0.1, 0.5) if rng.random() < 0.3 else 0.0,
        combed=bool(rng.random() < 0.3),
        quantiser=rng.uniform(22, 33) if rng.random() < 0.6 else 0.0,
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


def wetted(picture: Pixels, wear: Wear, rng: Rng) -> Pixels:
    """A picture (h, w, 3) through the mist and the drops on the lens."""
    if not (wear.drops or wear.mist):
        return picture
    height, width = picture.shape[:2]
    seen = picture.astype(float)
    if wear.mist:
        cloud = fractal(rng, max(height, width), 3.0, slope=3)[:height, :width, None]
        soft = gaussian_filter(seen, (width / 40, width / 40, 0))
        seen += wear.mist * cloud * (0.6 * soft + 0.4 * soft.mean() + 25 - seen)
    rows, columns = np.mgrid[:height, :width] / width
    for drop in wear.drops:
        away = np.hypot(rows - drop.down * height / width, columns - drop.across) / drop.radius
        share = np.clip(1.4 - away, 0, 1)[..., None] * 0.9
        behind = gaussian_filter(seen, (drop.radius * width / 3,) * 2 + (0,))
        tint = np.array([0.75, 0.12, 0.10]) if drop.red else np.array([1.1, 1.1, 1.12])
        seen += share * (behind * tint - seen)
    wet: Pixels = np.clip(np.round(seen), 0, 255).astype(np.uint8)
    return wet


def recorded(picture: Pixels, earlier: Callable[[], Pixels], wear: Wear, rng: Rng) -> Pixels:
    """A picture (h, w, 3) as the recorder kept it; `earlier` gives that of `HALF_FRAME_S` before, if it is needed."""
    if wear.combed:
        picture = interlaced(picture, earlier(), rng)
    return compressed(picture, wear.quantiser, rng) if wear.quantiser else picture

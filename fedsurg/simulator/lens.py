"""What sticks to a lens over a clip: drops of water and blood, condensation. It stays until the lens is wiped."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fedsurg.simulator.fields import Field, Rng, fractal, spread_over

SPLASHES_PER_SECOND = 0.01  # hardly more than wipes, see `camera`: nobody works on behind a lens full of drops
MIST_GRID = 64  # pixels along the longer side of the picture


@dataclass(frozen=True)
class Drop:
    """Fluid on the lens, from `since` seconds on; middle and radius as shares of the picture's width (down: of its
    height); `red` 0 is water, 1 is blood.
    """

    across: float
    down: float
    radius: float
    red: float
    since: float = 0.0


@dataclass(frozen=True, eq=False)
class Lens:
    """What is on a lens: at one moment, or all that ever falls on it in a clip.

    Attributes:
        drops: out of focus, where they fell; each is there from its `since` until a wipe.
        mist: share of a veil of condensation, 0 to 1; shape: where it is thick (n, n), 0 to 1.
    """

    drops: tuple[Drop, ...]
    mist: float
    shape: Field

    def at(self, time: float, wiped: float) -> "Lens":
        """What is on it at `time` seconds when it was last wiped at `wiped`; minus infinity: never."""
        left = tuple(drop for drop in self.drops if wiped < drop.since <= time)
        return replace(self, drops=left, mist=0.0 if wiped >= 0 else self.mist)


def draw_lens(rng: Rng, duration: float) -> Lens:
    """The lens of a clip of `duration` seconds: often clean at first, now and then splashed."""
    times = [0.0] if rng.random() < 0.4 else []
    times += rng.uniform(0, duration, int(rng.poisson(SPLASHES_PER_SECOND * duration))).tolist()
    drops = tuple(
        Drop(rng.random(), rng.random(), rng.uniform(0.02, 0.09), float(rng.random() < 0.4), time)
        for time in times
        for _ in range(int(rng.integers(1, 5)))
    )
    return Lens(drops, rng.uniform(0.1, 0.5) if rng.random() < 0.3 else 0.0, fractal(rng, MIST_GRID, 3.0, slope=3))


def wetted(picture: NDArray[np.uint8], lens: Lens) -> NDArray[np.uint8]:
    """A picture (h, w, 3) through what is on the lens."""
    if not (lens.drops or lens.mist):
        return picture
    height, width = picture.shape[:2]
    seen = picture.astype(float)
    if lens.mist:
        soft = gaussian_filter(seen, (width / 40, width / 40, 0))
        share = lens.mist * spread_over(lens.shape, (height, width))[..., None]
        seen += share * (0.6 * soft + 0.4 * soft.mean() + 25 - seen)
    for drop in lens.drops:
        _blur_through(seen, drop)
    wet: NDArray[np.uint8] = np.clip(np.round(seen), 0, 255).astype(np.uint8)
    return wet


def _blur_through(seen: Field, drop: Drop) -> None:
    """Changes the part of a picture (h, w, 3), values 0 to 255, that is seen through a drop."""
    height, width = seen.shape[:2]
    row, column, radius = drop.down * height, drop.across * width, drop.radius * width
    reach = 3 * radius  # to the drop's soft edge at 1.4, and to what is spread into it
    top, left = int(max(row - reach, 0)), int(max(column - reach, 0))
    near = seen[top : int(row + reach) + 1, left : int(column + reach) + 1]
    rows, columns = np.mgrid[: near.shape[0], : near.shape[1]]
    away = np.hypot(rows + top - row, columns + left - column) / radius
    share = np.clip(1.4 - away, 0, 1)[..., None] * 0.9
    behind = gaussian_filter(near, (radius / 3, radius / 3, 0))
    tint = np.array([0.75, 0.12, 0.10]) if drop.red else np.array([1.1, 1.1, 1.12])
    near += share * (behind * tint - near)

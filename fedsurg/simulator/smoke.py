"""Smoke between tissue and camera: a haze that drifts over a clip, and plumes where tissue is coagulated.

Everything is a function of time alone, as motion is. Places are shares of the picture's longer side, from its top left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import shift

from fedsurg.simulator.fields import Field, Rng, fractal, spread_over
from fedsurg.simulator.meshes import Floats

GRID = 64  # pixels along the longer side: smoke has no finer detail
CELLS = 2.0  # features of the cloud across the picture
SMOKES = "coagulate"  # the activity that gives off smoke
PUFFS_PER_SECOND = 5.0
LASTING_S = 3.0  # after which nothing is left of a puff
RISING_S = 0.3  # until it is thickest
PLUME_SHARE = 0.5  # of clips whose coagulation is seen to smoke: elsewhere suction takes it away


def moments_of_puffs(time: float) -> list[float]:
    """When puffs are given off that may still be seen at `time` seconds; at fixed moments, so that none jumps."""
    first, last = int(np.ceil((time - LASTING_S) * PUFFS_PER_SECOND)), int(np.floor(time * PUFFS_PER_SECOND))
    return [number / PUFFS_PER_SECOND for number in range(first, last + 1)]


@dataclass(frozen=True)
class Puff:
    """What coagulation gave off `age` seconds ago, at a place that lies at `across`, `down` now."""

    age: float
    across: float
    down: float


@dataclass(frozen=True, eq=False)
class Smoke:
    """The smoke of one clip.

    Attributes:
        haze: share of smoke that hangs over the whole view, 0 to 1.
        plume: how thick one puff is; 0: what is coagulated does not smoke.
        layers: two fields (n, n) that tile; the cloud's shape is their mean, with the contrast of one.
        drift: of the layers (2, 2), and wind of the plumes (2,): down and across, a second.
    """

    haze: float
    plume: float
    layers: tuple[Field, Field]
    drift: Floats
    wind: Floats

    def at(self, time: float, size: tuple[int, int], puffs: Sequence[Puff] = ()) -> Field | None:
        """Share of smoke (h, w) at `time` seconds, 0 clear to 1 opaque; None where there is none at all."""
        thick = self._plumes(puffs) if self.plume else None
        if thick is None and not self.haze:
            return None
        cloud = 0.4 + 0.6 * self._cloud(time)
        clear = 1 - self.haze * cloud
        return spread_over(1 - clear * (1.0 if thick is None else np.exp(-thick * cloud)), size)

    def _cloud(self, time: float) -> Field:
        moved = [
            shift(layer, GRID * way * time, order=1, mode="grid-wrap")
            for layer, way in zip(self.layers, self.drift, strict=True)
        ]
        shape: Field = np.clip(0.5 + np.sqrt(2) * ((moved[0] + moved[1]) / 2 - 0.5), 0, 1)
        return shape

    def _plumes(self, puffs: Sequence[Puff]) -> Field | None:
        """Optical thickness (n, n) of the puffs together: each grows, thins and is blown away."""
        rows, columns = (np.mgrid[:GRID, :GRID] + 0.5) / GRID
        thick = None
        for puff in puffs:
            left = min(puff.age / RISING_S, 1.0) * max(1 - puff.age / LASTING_S, 0.0) ** 2
            radius = 0.04 + 0.09 * puff.age
            down, across = np.array([puff.down, puff.across]) + self.wind * puff.age
            away = ((rows - down) ** 2 + (columns - across) ** 2) / radius**2
            here = self.plume * left * np.exp(-away / 2)
            thick = here if thick is None else thick + here
        return thick


def draw_smoke(rng: Rng, haze: float) -> Smoke:
    """The smoke of a clip; `haze` is the probability that the whole view is hazy."""
    hazy = rng.uniform(0.1, 0.45) if rng.random() < haze else 0.0
    plume = rng.uniform(0.1, 0.7) if rng.random() < PLUME_SHARE else 0.0
    layers = fractal(rng, GRID, CELLS, slope=3), fractal(rng, GRID, CELLS, slope=3)
    return Smoke(hazy, plume, layers, rng.normal(0, 0.05, (2, 2)), rng.normal(0, 0.08, 2))

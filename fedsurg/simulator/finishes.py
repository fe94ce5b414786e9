"""What instruments are made of: plastics, metals and the marks printed on shafts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedsurg.simulator.fields import Rng, above, fractal
from fedsurg.simulator.materials import Material


@dataclass(frozen=True, eq=False)
class Finish:
    """The materials of one instrument."""

    shaft: Material
    metal: Material
    jaw: Material
    accent: Material
    dark: Material


def draw_finish(rng: Rng, *, bright: float) -> Finish:
    """A finish; `bright` is the probability of a light shaft (white, steel, light grey)."""
    return Finish(
        shaft=_shaft(rng, bright),
        metal=metal(rng),
        jaw=metal(rng) if rng.random() < 0.8 else plastic(rng, 0.03, 0.3),
        accent=_accent(rng),
        dark=plastic(rng, 0.01, 0.05),
    )


def metal(rng: Rng) -> Material:
    """Steel, from polished to brushed; neutral, warm, or red with what it mirrors."""
    level = rng.uniform(0.45, 0.95)
    tint = _tint(rng, reddened=0.15) * (1 + rng.normal(0, 0.03, 3))
    return Material("metal", _rgb(level * tint), float(rng.uniform(0.12, 0.45)))


def plastic(rng: Rng, low: float, high: float) -> Material:
    """Near-neutral plastic with a reflectance between `low` and `high`."""
    level = np.exp(rng.uniform(np.log(low), np.log(high)))
    return Material("plastic", _rgb(level * _tint(rng) * (1 + rng.normal(0, 0.06, 3))), float(rng.uniform(0.1, 0.45)))


def _tint(rng: Rng, reddened: float = 0.0) -> NDArray[np.float64]:
    """Many instruments are neutral, many warm; `reddened`: the probability of one that mirrors red tissue."""
    draw = rng.random()
    if draw < reddened:
        return 1 - rng.uniform(0.3, 0.6) * np.array([0.0, rng.uniform(0.7, 1.0), rng.uniform(0.7, 1.0)])
    if draw < 0.4 + 0.6 * reddened:
        return np.ones(3)
    return 1 - rng.uniform(0.05, 0.35) * np.array([0.0, rng.uniform(0.4, 1.0), rng.uniform(0.6, 1.2)])


def _shaft(rng: Rng, bright: float) -> Material:
    if rng.random() < bright:
        base = metal(rng) if rng.random() < 0.45 else plastic(rng, 0.3, 0.85)
    else:
        base = plastic(rng, 0.012, 0.3)
    if rng.random() < 0.06:  # a coloured shaft: teal, blue, green
        base = Material("plastic", _rgb(rng.uniform(0.02, 0.6, 3)), base.roughness)
    if rng.random() < 0.65:
        return Material(base.kind, base.colour, base.roughness, colour_map=_marks(rng, base))
    return base


def _accent(rng: Rng) -> Material:
    """Pulleys, insulation, ceramic: amber, white, black or steel."""
    colours = (
        (0.55, 0.42, 0.16),
        (0.75, 0.72, 0.66),
        (0.03, 0.03, 0.03),
        (0.4, 0.4, 0.42),
        (0.5, 0.45, 0.35),
    )
    return Material("plastic", colours[int(rng.integers(len(colours)))], float(rng.uniform(0.1, 0.4)))


def _marks(rng: Rng, base: Material, across: int = 48, along: int = 384) -> NDArray[np.float32]:
    """Scratches, rings and letters on a shaft: (along, across, 3) linear RGB."""
    colour = np.array(base.colour)
    streaks = 1 + rng.uniform(0.02, 0.2) * rng.standard_normal((1, across, 1))
    grain = 1 + rng.uniform(0.0, 0.08) * rng.standard_normal((along, across, 1))
    picture = np.broadcast_to(colour, (along, across, 3)) * streaks * grain
    ink = np.full(3, 0.75) if colour.mean() < 0.3 else np.full(3, 0.03)
    for _ in range(int(rng.integers(0, 4))):  # rings
        start, wide = rng.integers(along), int(rng.integers(1, 7))
        picture[start : start + wide] = ink if rng.random() < 0.5 else colour * rng.uniform(0.3, 2.5)
    if rng.random() < 0.5:  # a printed name: blocks of random letters along the shaft
        for line in range(int(rng.integers(1, 4))):
            _letters(rng, picture, ink, (line * across // 3 + int(rng.integers(across))) % across)
    if rng.random() < 0.3:  # blood and fluid left on it
        film = above(fractal(rng, along, rng.uniform(4, 20), slope=2.4)[:, :across], rng.uniform(0.05, 0.4), 0.1)
        stain = np.array([0.16, 0.02, 0.02]) * rng.uniform(0.5, 2.0)
        picture += (film * rng.uniform(0.3, 0.9))[..., None] * (stain - picture)
    clipped: NDArray[np.float32] = np.clip(picture, 0.003, 0.95).astype(np.float32)
    return clipped


def _letters(rng: Rng, picture: NDArray[np.float64], ink: NDArray[np.float64], column: int) -> None:
    along, across = picture.shape[:2]
    tall = int(rng.integers(5, 11))
    position = int(rng.integers(along * 3 // 4))
    for _ in range(int(rng.integers(4, 14))):
        glyph = rng.random((int(rng.integers(4, 8)), tall)) < 0.55
        columns = (column + np.arange(tall)) % across
        rows = position + np.arange(len(glyph))
        if rows[-1] >= along:
            return
        block = np.ix_(rows, columns)
        picture[block] = np.where(glyph[..., None], ink, picture[block])
        position = int(rows[-1]) + 2


def _rgb(values: NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in np.clip(values, 0.005, 0.95))
    return red, green, blue

"""Wet tissue: a relief and the colours on it, made of layered noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fedsurg.simulator.colour import linear
from fedsurg.simulator.fields import Field, Rng, above, cells, fractal, smooth, vessels, warped
from fedsurg.simulator.profiles import AnatomyProfile, Tissue

PALE = ("#d8d4cc", "#b8b4b0", "#9aa0a8", "#c9b8ae", "#e4dcd8", "#8f8a90")
MILLIMETRES_OF_DETAIL = 90.0  # a painted square of tissue stands for about this width


@dataclass(frozen=True, eq=False)
class Surface:
    """A square of tissue, (n, n) samples over `extent` millimetres.

    Attributes:
        height: millimetres towards the camera.
        colour: linear reflectance (n, n, 3).
        bump: fine relief in millimetres, for the shading alone.
        roughness: of the wet coat; small is glossy.
    """

    height: Field
    colour: Field
    bump: Field
    roughness: float
    extent: float


def make_bed(profile: AnatomyProfile, rng: Rng, n: int, extent: float) -> Surface:
    """The ground of the scene: several kinds of tissue side by side, in hills, with traces of surgery."""
    count = int(rng.integers(profile.regions[0], profile.regions[1] + 1))
    index, dome = cells(rng, n, count, wobble=rng.uniform(0.03, 0.12))
    hills = rng.uniform(*profile.relief) * extent
    height = hills * (fractal(rng, n, 2.0, slope=3.2) + rng.uniform(0.0, 0.7) * smooth(dome, 0.02))
    colour = np.zeros((n, n, 3))
    total = np.full((n, n), 1e-6)
    for region in range(count):
        share = smooth((index == region).astype(float), 0.006)
        painted, detail = paint(draw_tissue(profile, rng), rng, n)
        colour += share[..., None] * painted
        height = height + share * detail * extent / MILLIMETRES_OF_DETAIL
        total += share
    colour /= total[..., None]
    if profile.bands and rng.random() < profile.bands:  # profiles without draw no number, and keep their bytes
        for _ in range(int(rng.integers(1, 3))):
            height, colour = _band(rng, height, colour, extent)
    height, colour = _traces(profile, rng, height, colour, extent)
    colour = colour * _crevices(height, rng)[..., None]
    return finish(height, colour, profile, rng, extent)


def finish(height: Field, colour: Field, profile: AnatomyProfile, rng: Rng, extent: float) -> Surface:
    """Adds what makes tissue look wet: a fine relief that breaks the highlight into glints."""
    n = height.shape[0]
    fine = fractal(rng, n, n / rng.uniform(5, 20), slope=3) + 0.6 * fractal(rng, n, n / rng.uniform(25, 50), slope=3)
    patchy = 0.3 + 1.4 * fractal(rng, n, 6, slope=2.5)
    bump = fine * patchy * np.exp(rng.uniform(np.log(0.02), np.log(0.35))) * extent / 100
    wet = rng.uniform(*profile.wetness)
    return Surface(height, np.clip(colour, 0.002, 0.95), bump, 0.05 + 0.3 * (1 - wet), extent)


def draw_tissue(profile: AnatomyProfile, rng: Rng) -> Tissue:
    """One of the profile's tissues, by weight."""
    weights = np.array([weight for _, weight in profile.tissues])
    return profile.tissues[int(rng.choice(len(weights), p=weights / weights.sum()))][0]


def paint(tissue: Tissue, rng: Rng, n: int) -> tuple[Field, Field]:
    """Colours (n, n, 3) and relief in millimetres (n, n) of one tissue."""
    palette = [_jittered(linear(colour), rng) for colour in tissue.colours]
    colour = _mix(palette[0], palette[1], fractal(rng, n, rng.uniform(2, 6), slope=2.2))
    for extra in palette[2:]:
        spots = above(fractal(rng, n, rng.uniform(3, 12), slope=rng.uniform(1.8, 3.0)), 0.3, 0.4)
        colour = _mix(colour, extra, spots * rng.uniform(0.4, 1.0))
    grain = rng.uniform(0.05, 0.45)
    colour = colour * (1 - grain / 2 + grain * fractal(rng, n, n / rng.uniform(3, 16), slope=1.6))[..., None]
    relief = np.zeros((n, n))
    if tissue.lobes:
        colour, relief = _lobules(tissue, rng, colour, relief)
    if tissue.folds:
        relief = relief + tissue.folds * rng.uniform(1.0, 5.0) * _folds(rng, n)
    if tissue.vessels > rng.random():
        colour, relief = _add_vessels(tissue, rng, colour, relief)
    return colour, relief


def _lobules(tissue: Tissue, rng: Rng, colour: Field, relief: Field) -> tuple[Field, Field]:
    n = relief.shape[0]
    _, dome = cells(rng, n, int(rng.uniform(40, 260)), wobble=rng.uniform(0.02, 0.06))
    dome = smooth(dome, 0.003)
    crease = linear("#8a3a1c") * rng.uniform(0.5, 1.2)
    shaded = _mix(colour, crease, (1 - dome) * rng.uniform(0.2, 0.7))
    return shaded, relief + tissue.lobes * rng.uniform(0.8, 3.0) * dome


def _folds(rng: Rng, n: int) -> Field:
    """Long ridges with sharp valleys, in [0, 1]."""
    noise = fractal(rng, n, rng.uniform(2, 5), slope=2.6, stretch=rng.uniform(1, 3))
    ridge = np.abs(2 * warped(noise, rng, 0.06) - 1) ** rng.uniform(0.5, 1.0)
    turned: Field = np.rot90(ridge, int(rng.integers(4)))
    return turned


def _add_vessels(tissue: Tissue, rng: Rng, colour: Field, relief: Field) -> tuple[Field, Field]:
    n = relief.shape[0]
    trunks = int(2 + tissue.vessels * rng.uniform(3, 22))
    tree = vessels(rng, n, trunks, rng.uniform(1.0, 4.5) * n / 400)
    red = linear(str(rng.choice(["#8a1a20", "#a32a2c", "#6d1622", "#5b3550"])))
    return _mix(colour, red, tree * rng.uniform(0.4, 0.95)), relief + 0.4 * smooth(tree, 0.003)


def _band(rng: Rng, height: Field, colour: Field, extent: float) -> tuple[Field, Field]:
    """A pale, wrinkled ligament over a bed of `extent` mm: its height (n, n) in mm, its colour (n, n, 3)."""
    n = height.shape[0]
    inside = _strip(rng, n)
    cover = np.clip(inside / rng.uniform(0.05, 0.3), 0, 1)
    tint = _jittered(linear(str(rng.choice(PALE))), rng)
    mottled = _mix(tint, _jittered(linear("#d79a94"), rng), fractal(rng, n, 14, slope=2.2) * rng.uniform(0.0, 0.6))
    wrinkles = fractal(rng, n, rng.uniform(8, 25), slope=2.2) * rng.uniform(0.2, 1.0)
    raised = (np.sqrt(inside) + wrinkles * cover) * rng.uniform(0.3, 1.5) * extent / MILLIMETRES_OF_DETAIL
    return height + raised, _mix(colour, mottled, cover * rng.uniform(0.6, 1.0))


def _strip(rng: Rng, n: int) -> Field:
    """A ragged strip across a square (n, n), which may end on it: 1 on its middle line, 0 at its edge and outside."""
    axis = np.linspace(-0.5, 0.5, n)
    bearing = rng.uniform(0, 2 * np.pi)
    along = axis * np.cos(bearing) + axis[:, None] * np.sin(bearing)
    across = axis[:, None] * np.cos(bearing) - axis * np.sin(bearing) - rng.uniform(-0.3, 0.3)
    across = across + rng.uniform(0.0, 0.03) * np.sin(rng.uniform(3, 12) * along + rng.uniform(0, 2 * np.pi))
    half = rng.uniform(0.012, 0.045) * (0.6 + 0.8 * fractal(rng, n, 6, slope=2.5))
    ragged = rng.uniform(0.1, 0.7) * half * (fractal(rng, n, rng.uniform(10, 40), slope=2.2) - 0.5)
    to_end = rng.uniform(-0.1, 1.0) - along + ragged
    inside: Field = np.clip(1 - np.abs(across + ragged) / half, 0, 1) * np.clip(to_end / (2 * half), 0, 1)
    return inside


def _traces(profile: AnatomyProfile, rng: Rng, height: Field, colour: Field, extent: float) -> tuple[Field, Field]:
    """Blood, char, fibres, pits: what surgery leaves behind."""
    n = height.shape[0]
    if rng.random() < profile.blood:
        pool = above(fractal(rng, n, rng.uniform(2, 10), slope=2.4), rng.uniform(0.03, 0.25), 0.04)
        colour = _mix(colour, linear("#6e0a0d") * rng.uniform(0.5, 1.6), pool * rng.uniform(0.5, 1.0))
    if rng.random() < profile.char:
        burnt = above(fractal(rng, n, rng.uniform(4, 14), slope=2.0), rng.uniform(0.02, 0.10), 0.06)
        colour = _mix(colour, linear(str(rng.choice(["#1c120e", "#4a2f1c", "#e8dccb"]))), burnt)
    if rng.random() < profile.films:  # adhesions and gauze: as pale as steel, but ragged
        film = above(
            fractal(rng, n, rng.uniform(1.5, 5), slope=2.2, stretch=rng.uniform(1, 5)), rng.uniform(0.03, 0.15), 0.03
        )
        pale = linear(str(rng.choice(PALE))) * rng.uniform(0.6, 1.2)
        colour = _mix(colour, pale, np.rot90(film, int(rng.integers(4))) * rng.uniform(0.6, 1.0))
        height = height + smooth(film, 0.004) * rng.uniform(0.0, 1.5)
    if rng.random() < profile.fibres:
        strands = above(_folds(rng, n), rng.uniform(0.05, 0.25), 0.1) * fractal(rng, n, 3, slope=2.5)
        colour = _mix(colour, linear("#e9dcd4"), strands * rng.uniform(0.3, 0.9))
        height = height + strands * rng.uniform(0.2, 1.2)
    if rng.random() < 0.45:
        pit = smooth(above(fractal(rng, n, rng.uniform(1.5, 4), slope=3), rng.uniform(0.08, 0.25), 0.1), 0.012)
        height = height - pit * rng.uniform(0.05, 0.2) * extent
        colour = colour * (1 - pit * rng.uniform(0.2, 0.85))[..., None]
    return height, colour


def _crevices(height: Field, rng: Rng) -> Field:
    """Darkening of the valleys, in (0, 1]: light that deep folds do not get back."""
    depth = np.clip(smooth(height, 0.015) - height, 0, None)
    dark: Field = np.exp(-depth * rng.uniform(0.2, 0.9))
    return dark


def _jittered(colour: Field, rng: Rng) -> Field:
    moved: Field = np.clip(colour * rng.uniform(0.75, 1.2) * rng.uniform(0.92, 1.08, 3), 0, 1)
    return moved


def _mix(low: ArrayLike, high: ArrayLike, share: Field) -> Field:
    base = np.asarray(low)
    mixed: Field = base + share[..., None] * (np.asarray(high) - base)
    return mixed

"""The eye under a microscope: globe, cornea, iris, pupil and lids as one relief."""

import numpy as np

from fedsurg.simulator.colour import linear
from fedsurg.simulator.fields import Field, Rng, above, fractal, smooth, vessels
from fedsurg.simulator.profiles import AnatomyProfile
from fedsurg.simulator.tissue import Surface, finish

GLOBE_RADIUS = 12.0  # millimetres, like all lengths here
CORNEA_RADIUS = 7.8
IRISES = ("#8f9488", "#98988f", "#7a6a4c", "#5a4433", "#a8a58a", "#7f8880", "#9a9a7c", "#b0a98c")
PUPILS = ("#8a3a1c", "#a8552f", "#5a1410", "#9a8f7c", "#c2a88a", "#1a0d0c", "#9a5a35", "#b5603c", "#c4713f")
SKINS = ("#2a1d18", "#6a4430", "#101814", "#141c22", "#3f2a1f", "#1f1810", "#0c120f", "#3a2a22", "#16201a")


def make_eye(profile: AnatomyProfile, rng: Rng, n: int, extent: float) -> Surface:
    """An eye looking at the camera, held open, in a square of `extent` millimetres."""
    axis = (np.arange(n) + 0.5) / n * extent - extent / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    x, y = x - rng.normal(0, 1.0), y - rng.normal(0, 1.0)
    radius, angle = np.hypot(x, y * rng.uniform(0.95, 1.08)), np.arctan2(y, x)
    limbus = rng.uniform(5.5, 6.4)
    globe = np.sqrt(np.clip(GLOBE_RADIUS**2 - radius**2, 0, None))
    cornea = np.sqrt(np.clip(CORNEA_RADIUS**2 - radius**2, 0, None))
    rim = np.sqrt(CORNEA_RADIUS**2 - limbus**2) - np.sqrt(GLOBE_RADIUS**2 - limbus**2)
    height = np.where(radius < limbus, cornea - rim, globe)
    colour = _sclera(rng, n, radius, limbus)
    colour = _iris_and_pupil(rng, colour, radius, angle, limbus)
    colour = _bubbles(rng, colour, x, y, limbus)
    height, colour = _lids(rng, height, colour, x, y)
    surface = finish(height - GLOBE_RADIUS, colour, profile, rng, extent)
    return Surface(surface.height, surface.colour, surface.bump * rng.uniform(0.05, 0.5), surface.roughness, extent)


def _sclera(rng: Rng, n: int, radius: Field, limbus: float) -> Field:
    white = linear(str(rng.choice(["#efdcc6", "#f0dcc0", "#e5bfa8", "#e8cf9a", "#e9c88c"])))
    red = linear(str(rng.choice(["#b5524a", "#c27a68", "#a83a38"])))
    far = np.clip((radius - limbus) / 8, 0, 1) * rng.uniform(0.2, 0.9)
    colour = _blend(np.broadcast_to(white, (n, n, 3)), red, far * fractal(rng, n, 4))
    tree = vessels(rng, n, int(rng.uniform(5, 26)), rng.uniform(0.8, 1.8) * n / 450)
    colour = _blend(colour, linear("#a3262a"), tree * rng.uniform(0.2, 0.8))
    spots = above(fractal(rng, n, 5, slope=2.2), rng.uniform(0.0, 0.06), 0.05)
    return _blend(colour, linear("#8a1616"), spots * 0.7)


def _iris_and_pupil(rng: Rng, colour: Field, radius: Field, angle: Field, limbus: float) -> Field:
    n = radius.shape[0]
    pupil = limbus * rng.uniform(0.6, 0.92)
    rays = 0.5 + 0.5 * np.sin(angle * rng.integers(30, 70) + 6 * fractal(rng, n, 6))
    streaks = rng.uniform(0.05, 0.45) * rays * fractal(rng, n, 12)
    iris = linear(str(rng.choice(IRISES))) * (0.75 + streaks)[..., None]
    grey = linear(str(rng.choice(["#b5b0a0", "#8f9a96", "#c9bfa8", "#7a6f5f"])))
    soft = rng.uniform(0.4, 1.4)
    ring = _step(limbus - radius, soft) * _step(radius - limbus * rng.uniform(0.8, 0.95), 0.5)
    colour = _blend(colour, iris, _step(limbus - radius, soft))
    colour = _blend(colour, grey, ring * rng.uniform(0.4, 1.0))
    lens = linear(str(rng.choice(PUPILS))) * rng.uniform(0.5, 1.3)
    clouds = above(fractal(rng, n, rng.uniform(5, 16), slope=2.2), rng.uniform(0, 0.5), 0.4)
    lens = _blend(np.broadcast_to(lens, colour.shape), linear("#c8c2b0"), clouds * rng.uniform(0, 0.7))
    lens = lens * (1.1 - 0.5 * np.clip(radius / pupil, 0, 1) ** 3)[..., None]
    colour = _blend(colour, lens, _step(pupil - radius, 0.25))
    if rng.random() < 0.4:  # the edge of the opened lens capsule
        edge = np.exp(-(((radius - pupil * rng.uniform(0.6, 0.9)) / 0.12) ** 2))
        colour = _blend(colour, linear("#d9cdb8"), edge * fractal(rng, n, 4) * 0.6)
    return colour


def _bubbles(rng: Rng, colour: Field, x: Field, y: Field, limbus: float) -> Field:
    """Air bubbles: thin bright rings with a dark side."""
    if rng.random() < 0.5:
        return colour
    middle = rng.normal(0, limbus * 0.5, 2)
    for _ in range(int(rng.integers(1, 12))):
        centre = middle + rng.normal(0, 1.0, 2)
        size = rng.uniform(0.25, 0.9)
        away = np.hypot(x - centre[0], y - centre[1])
        ring = np.exp(-(((away - size) / (0.16 * size + 0.04)) ** 2))
        colour = _blend(colour, np.full(3, 0.9) if rng.random() < 0.6 else np.full(3, 0.05), ring * 0.8)
    return colour


def _lids(rng: Rng, height: Field, colour: Field, x: Field, y: Field) -> tuple[Field, Field]:
    """Skin or drape around an almond-shaped opening."""
    n = height.shape[0]
    tall, wide = rng.uniform(9.0, 14.0), rng.uniform(13, 26)
    gap = tall * (1 - np.abs(x / wide) ** rng.uniform(2.0, 4.0)) - np.abs(y - rng.normal(0, 1.0))
    gap = gap + rng.uniform(0.5, 4.0) * (fractal(rng, n, 4, slope=3) - 0.5)
    outside = _step(-gap, rng.uniform(0.5, 3.0))
    skin = linear(str(rng.choice(SKINS))) * rng.uniform(0.3, 1.3)
    other = linear(str(rng.choice(SKINS))) * rng.uniform(0.3, 1.3)
    cover = _blend(np.broadcast_to(skin, colour.shape), other, fractal(rng, n, 5, slope=2.4))
    edge = np.exp(-((gap / rng.uniform(0.4, 1.0)) ** 2))
    colour = _blend(_blend(colour, cover, outside), linear("#c9907a"), edge * rng.uniform(0.0, 0.8))
    folds = rng.uniform(0.1, 1.2) * fractal(rng, n, rng.uniform(2, 6), slope=3.2)
    floor = GLOBE_RADIUS * rng.uniform(0.45, 0.75)
    raised = np.maximum(height, floor) + rng.uniform(0.5, 2.0) + folds
    return smooth(height * (1 - outside) + raised * outside, 0.01), colour


def _step(value: Field, softness: float) -> Field:
    """0 below zero, 1 above `softness`."""
    step: Field = np.clip(value / softness, 0, 1)
    return step


def _blend(low: Field, high: Field, share: Field) -> Field:
    mixed: Field = low * (1 - share[..., None]) + high * share[..., None]
    return mixed

"""Colours: display and linear sRGB, CIELAB, and matching one picture's colours to another's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedsurg.simulator.fields import Field

_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _TO_XYZ.sum(axis=1)  # D65
_KNEE = 6 / 29


def linear_of(display: NDArray[np.floating]) -> Field:
    """Linear light of display values in [0, 1]."""
    return np.where(display <= 0.04045, display / 12.92, ((np.maximum(display, 0) + 0.055) / 1.055) ** 2.4)


def linear(colour: str) -> Field:
    """Linear light (3,) of a '#rrggbb' colour."""
    return linear_of(np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255)


def display_of(linear: Field) -> Field:
    """Display values in [0, 1] of linear light, which is cut off at 0 and 1."""
    light = np.clip(linear, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def lab_of(linear: Field) -> Field:
    """CIELAB (..., 3) of linear light (..., 3)."""
    ratio = np.maximum(linear @ _TO_XYZ.T / _WHITE, 0)
    x, y, z = np.moveaxis(np.where(ratio > _KNEE**3, np.cbrt(ratio), ratio / (3 * _KNEE**2) + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def linear_of_lab(lab: Field) -> Field:
    """Linear light (..., 3) of CIELAB (..., 3), not negative."""
    lightness, green_red, blue_yellow = np.moveaxis(lab, -1, 0)
    y = (lightness + 16) / 116
    roots = np.stack([y + green_red / 500, y, y - blue_yellow / 200], axis=-1)
    ratio = np.where(roots > _KNEE, roots**3, 3 * _KNEE**2 * (roots - 4 / 29))
    light: Field = np.maximum((ratio * _WHITE) @ np.linalg.inv(_TO_XYZ).T, 0)
    return light


@dataclass(frozen=True, eq=False)
class Palette:
    """Mean (3,) and standard deviation (3,) of a picture's colours in CIELAB."""

    mean: Field
    spread: Field


def palette_of(linear: Field) -> Palette:
    """Of linear light (..., 3); what is brighter than white counts as white."""
    lab = lab_of(np.clip(linear, 0, 1)).reshape(-1, 3)
    return Palette(lab.mean(axis=0), lab.std(axis=0))


def matched(linear: Field, own: Palette, target: Palette, strength: float) -> Field:
    """Colours moved from their own palette towards another, 0 not at all, 1 all the way.

    Reinhard et al., Color transfer between images, IEEE CG&A 2001. A spread changes at most twofold, so that a dark
    uniform shaft does not become speckled.
    """
    lab = lab_of(linear)
    ratio = np.clip(target.spread / np.maximum(own.spread, 1e-6), 0.5, 2.0)
    moved = (lab - own.mean) * ratio + target.mean
    return linear_of_lab(lab + strength * (moved - lab))

"""Colours of labels, the same in every picture, and the pixels of their outlines."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[Any]

# One colour per label from 1 on, then again from the first: far from tissue red, apart for most eyes.
COLOURS = ("#2ec4ff", "#ffd23f", "#7cff6b", "#c77dff", "#ff9f1c", "#00e0b8", "#ff7bd5", "#b8c0ff")


def label_colour(index: int) -> str:
    """The colour (#rrggbb) of label `index`, which is 1 or more."""
    return COLOURS[(index - 1) % len(COLOURS)]


def rgb(colour: str) -> NDArray[np.uint8]:
    """The three values of a colour #rrggbb."""
    return np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)], np.uint8)


def outline(mask: Mask) -> NDArray[np.bool_]:
    """Pixels (h, w) of a label that touch another label or the background, on all sides."""
    differs = np.zeros(mask.shape, bool)
    down, right = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    differs[1:] |= down
    differs[:-1] |= down
    differs[:, 1:] |= right
    differs[:, :-1] |= right
    return differs & (mask > 0)

"""Depth of field: what is nearer than the focus is blurred, as a shaft that passes close to the lens."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fedsurg.simulator.fields import Field

LAYERS = (0.8, 1.6, 3.2)  # sigma in pixels of a picture 192 wide; a pixel is blurred by that next to its own
WIDTH_OF_LAYERS = 192.0


def defocused(light: Field, depth: Field, defocus_mm: float) -> Field:
    """Linear light (h, w, 3) as a lens shows it that is in focus at the median depth of what is there.

    A point at depth z is spread by a Gaussian of sigma `defocus_mm * (1 / z - 1 / focus)`, a share of the picture's
    width: a quarter of the circle of confusion of a lens with an opening of `8 * defocus_mm * tan(view / 2)`.
    What is farther than the focus is left sharp, as tissue hardly ever is far behind.

    Args:
        light: (h, w, 3).
        depth: (h, w) in millimetres; 0: unknown, or nothing is there, and stays sharp.
        defocus_mm: 0 leaves everything sharp.
    """
    there = depth > 0
    if not defocus_mm or not there.any():
        return light
    scale = light.shape[1] / WIDTH_OF_LAYERS
    near = 1 / np.where(there, depth, np.inf) - 1 / float(np.median(depth[there]))
    sigma = defocus_mm * np.maximum(near, 0.0) * WIDTH_OF_LAYERS
    ends = (*np.sqrt(np.array(LAYERS[:-1]) * LAYERS[1:]), np.inf)
    blurred, start = light, LAYERS[0] / np.sqrt(2)
    for layer, end in zip(LAYERS, ends, strict=True):
        inside = (sigma >= start) & (sigma < end)
        start = end
        if inside.any():
            blurred = _spread(blurred, inside, layer * scale)
    return blurred


def _spread(light: Field, inside: NDArray[np.bool_], sigma: float) -> Field:
    """The pixels of `inside` (h, w) blurred, over what surrounds them and is taken to lie behind them as well."""
    here = inside[..., None]
    cover = gaussian_filter(inside.astype(float), sigma)[..., None]
    mine = gaussian_filter(np.where(here, light, 0.0), (sigma, sigma, 0))
    around = gaussian_filter(np.where(here, 0.0, light), (sigma, sigma, 0)) / np.maximum(1 - cover, 1e-6)
    spread: Field = np.where(here, around, light) * (1 - cover) + mine
    return spread

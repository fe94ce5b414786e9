"""From linear light to the picture a camera would store."""

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from fedsurg.simulator.colour import display_of
from fedsurg.simulator.fields import Field, Rng
from fedsurg.simulator.looks import Look

WIDTH_OF_BLUR = 192.0  # Look.blur is given for a picture this wide


def develop(light: Field, look: Look, smoke: Field | None, rng: Rng) -> NDArray[np.uint8]:
    """8-bit picture (h, w, 3) of linear light (h, w, 3), through a share of `smoke` (h, w); `rng` draws the noise."""
    height, width = light.shape[:2]
    picture = _expose(light, look)
    picture = _bloom(picture, look, width)
    picture = picture * (1 - look.vignette * _distance(height, width) ** 2)[..., None]
    picture = _through_smoke(picture, smoke) if smoke is not None else picture
    picture = _tone(picture, look)
    if look.blur:
        sigma = look.blur * width / WIDTH_OF_BLUR
        picture = gaussian_filter(picture, (sigma, sigma, 0))
    picture = picture * circle(height, width, look)[..., None]
    picture = picture + rng.normal(0, look.noise, picture.shape) * (0.5 + picture)
    stored = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return _recompressed(stored, look.jpeg) if look.jpeg else stored


def circle(height: int, width: int, look: Look) -> NDArray[np.bool_]:
    """Pixels inside the round view (h, w); all of them for a full picture."""
    inside: NDArray[np.bool_] = _distance(height, width) <= look.circle
    return inside


@lru_cache(maxsize=1)
def _distance(height: int, width: int) -> Field:
    """Distance from the middle as a share of half the diagonal."""
    y, x = np.mgrid[:height, :width] + 0.5
    away: Field = np.hypot(y - height / 2, x - width / 2) / np.hypot(height / 2, width / 2)
    return away


def _expose(light: Field, look: Look) -> Field:
    """Automatic exposure on the middle of the histogram, so that glare burns out as in a real camera."""
    brightness = np.minimum(light.mean(axis=2), 4 * np.median(light) + 1e-6)
    exposed: Field = np.minimum(light * look.exposure / max(float(brightness.mean()), 1e-6), 12.0)
    return exposed


def _bloom(picture: Field, look: Look, width: int) -> Field:
    over = np.clip(picture - 0.8, 0, 6)
    sigma = width / 60
    spilled: Field = gaussian_filter(over, (sigma, sigma, 0))
    return picture + look.bloom * spilled


def _through_smoke(picture: Field, smoke: Field) -> Field:
    share = smoke[..., None]
    hazy: Field = picture * (1 - share) + share * np.array([0.34, 0.33, 0.32])
    return hazy


def _tone(picture: Field, look: Look) -> Field:
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + look.saturation * (picture - grey)
    display = display_of(picture * look.white + look.shadow) ** look.gamma
    curved: Field = display + look.contrast * (display * display * (3 - 2 * display) - display)
    return curved


def _recompressed(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as stored:
        return np.array(stored)

"""What a recorder does to the pictures of a camera: combed lines, coarse blocks, washed-out colour edges."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft

from fedsurg.simulator.fields import Field

BLOCK = 8  # pixels of a transform block
Pixels = NDArray[np.uint8]


def interlaced(picture: Pixels, previous: Pixels, first: int) -> Pixels:
    """A picture (h, w, 3) whose every other line, from `first` (0 or 1) on, is still that of the picture before: what
    moves looks combed. Without motion nothing changes.
    """
    woven = picture.copy()
    woven[first::2] = previous[first::2]
    return woven


def compressed(picture: Pixels, quantiser: float, corner: tuple[int, int] = (0, 0)) -> Pixels:
    """A picture (h, w, 3) as H.264 would keep it: colour at half the size, blocks with few waves, smoothed seams.

    Args:
        quantiser: as in H.264, 0 to 51: 20 is hardly seen, 35 is a poor recording. The step doubles every 6.
        corner: row and column of the first whole block, each below `BLOCK`: recordings are cropped and resized.
    """
    step = 0.625 * 2 ** (quantiser / 6)
    height, width = picture.shape[:2]
    top, left = corner
    light, blue, red = np.moveaxis(np.asarray(Image.fromarray(picture).convert("YCbCr"), float), -1, 0)
    bands = [_coded(light, step, top, left)]
    for colour in (blue, red):
        half = _resized(colour, (max(height // 2, 1), max(width // 2, 1)))
        bands.append(_resized(_coded(half, step, top // 2, left // 2), (height, width)))
    stored = np.clip(np.round(np.stack(bands, axis=-1)), 0, 255).astype(np.uint8)
    return np.array(Image.fromarray(stored, "YCbCr").convert("RGB"))


def _resized(band: Field, size: tuple[int, int]) -> Field:
    shown = Image.fromarray(band.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(shown, float)


def _coded(band: Field, step: float, top: int, left: int) -> Field:
    """A band (h, w) after its blocks were quantised in steps of `step`, with their seams smoothed."""
    height, width = band.shape
    padding = ((top, -(top + height) % BLOCK), (left, -(left + width) % BLOCK))
    padded = np.pad(band, padding, mode="edge")
    rows, columns = (side // BLOCK for side in padded.shape)
    blocks = padded.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2)
    waves = fft.dctn(blocks, axes=(2, 3), norm="ortho")
    # The dead zone of an encoder: what is less than two thirds of a step is dropped.
    kept = np.sign(waves) * np.floor(np.abs(waves) / step + 1 / 3) * step
    decoded = fft.idctn(kept, axes=(2, 3), norm="ortho").swapaxes(1, 2).reshape(padded.shape)
    for axis in (0, 1):
        decoded = np.moveaxis(_seams_smoothed(np.moveaxis(decoded, axis, 0), step), 0, axis)
    coded: Field = decoded[top : top + height, left : left + width]
    return coded


def _seams_smoothed(band: Field, step: float) -> Field:
    """Softens the steps between blocks along the first axis that are no larger than the quantiser's own."""
    smooth = band.copy()
    for seam in range(BLOCK, band.shape[0], BLOCK):
        before, after = band[seam - 1], band[seam]
        near = np.abs(after - before) < step
        smooth[seam - 1] = np.where(near, (band[seam - 2] + 2 * before + after) / 4, before)
        smooth[seam] = np.where(near, (before + 2 * after + band[seam + 1]) / 4, after)
    return smooth

"""A prediction drawn on its frame: colour where the model sees a label, a white line round where it is."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedsurg.data.labels import IGNORE
from fedsurg.data.outlines import Mask, label_colour, outline, rgb

Picture = NDArray[np.uint8]

_FILL = 0.55  # share of the label's colour in a filled pixel
_FINE = 2  # drawn this many times larger still and averaged down, so that outlines are smooth
_SHADE = 0.55  # brightness left right outside the white outline, so that it shows on bright steel too


def draw_overlay(frame: Picture, label: Mask, predicted: Mask, labels: int, scale: int = 2) -> Picture:
    """Draw one frame, enlarged by `scale`.

    Args:
        frame: (h, w, 3) uint8.
        label: (h, w), the truth; `IGNORE` is treated as background.
        predicted: (h, w), the model's labels.
        labels: number of labels, the background included.
        scale: how many times larger the picture is than the frame.

    Returns:
        (h * scale, w * scale, 3) uint8.

    Raises:
        ValueError: the masks do not have the frame's height and width.
    """
    if not frame.shape[:2] == label.shape == predicted.shape:
        raise ValueError(f"frame {frame.shape}, label {label.shape} and prediction {predicted.shape} do not match")
    height, width = label.shape
    size = (width * scale, height * scale)
    fine = (size[0] * _FINE, size[1] * _FINE)
    picture = np.asarray(Image.fromarray(frame).resize(fine, Image.Resampling.BICUBIC)).astype(np.float32)
    fill = _enlarge(predicted, labels, fine)
    for index in range(1, labels):
        where = fill == index
        picture[where] = (1 - _FILL) * picture[where] + _FILL * rgb(label_colour(index))
    line = _grow(outline(_enlarge(np.where(label == IGNORE, 0, label), labels, fine)))
    picture[_grow(line) & ~line] *= _SHADE
    picture[line] = 255
    drawn = Image.fromarray(np.clip(picture + 0.5, 0, 255).astype(np.uint8))
    return np.asarray(drawn.resize(size, Image.Resampling.BOX))


def _enlarge(mask: Mask, labels: int, size: tuple[int, int]) -> Mask:
    """Enlarge a mask to `size` (width, height) with smooth borders: each label's share is interpolated."""
    layers = [
        np.asarray(Image.fromarray(np.uint8(255) * (mask == index)).resize(size, Image.Resampling.BILINEAR))
        for index in range(labels)
    ]
    enlarged: Mask = np.stack(layers).argmax(axis=0)
    return enlarged


def _grow(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and its four neighbours."""
    wider = mask.copy()
    wider[1:] |= mask[:-1]
    wider[:-1] |= mask[1:]
    wider[:, 1:] |= mask[:, :-1]
    wider[:, :-1] |= mask[:, 1:]
    return wider

"""Decoding the pictures that the simulator takes in, and what makes one usable."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt

from fedsurg.errors import SimulatorError
from fedsurg.simulator.assets import CutOut, Picture, opened
from fedsurg.simulator.fields import Field
from fedsurg.simulator.mask_values import CLASPER, SHAFT

SMALLEST_PHOTOGRAPH = 16  # pixels of the shorter side
DARKEST_PHOTOGRAPH = 4  # mean of a picture's values, 0-255, below which it shows nothing: part masks are such
TOUCHING = 0.1  # a side is cut if alpha touches it along at least this share of the side that it touches most
LARGEST_CUTOUT = 1200  # pixels of the longer side that are kept: more than any frame shows, less than memory minds
OPAQUE = 255
VISIBLE = 0.02  # opacity from which a pixel is seen
OPPOSITE = {"left": "right", "top": "bottom"}


@dataclass(frozen=True, eq=False)
class OpenCutOut:
    """A decoded cut-out: display colours (h, w, 3) and opacity (h, w) in [0, 1], part values (h, w), and the sides of
    the picture that cut it off.
    """

    colours: Field
    opacity: Field
    parts: NDArray[np.uint8]
    cut_sides: tuple[str, ...]


def load_background(picture: Picture) -> NDArray[np.uint8]:
    """A photograph (h, w, 3).

    Raises:
        SimulatorError: it cannot be decoded, has more than 8 bits, is too small or black, or has transparent parts.
    """
    with opened(picture) as image:
        _require_8_bits(picture.path, image.mode, "RGB")
        if image.has_transparency_data and np.array(image.convert("RGBA").getchannel("A")).min() < OPAQUE:
            raise SimulatorError(
                f"{picture.path}: has transparent parts, as no photograph of tissue has; if it is a cut-out, give its "
                "folder as --instruments"
            )
        pixels = np.array(image.convert("RGB"))
    if min(pixels.shape[:2]) < SMALLEST_PHOTOGRAPH:
        raise SimulatorError(
            f"{picture.path}: is {pixels.shape[0]}x{pixels.shape[1]} pixels; the sides of a background must have at "
            f"least {SMALLEST_PHOTOGRAPH}, replace or remove it"
        )
    if pixels.mean() < DARKEST_PHOTOGRAPH:
        raise SimulatorError(f"{picture.path}: is black; a background shows tissue, replace or remove it")
    return pixels


def load_cutout(cutout: CutOut) -> OpenCutOut:
    """A cut-out. Without a part mask all of it is shaft, which only whole instruments may make use of.

    Raises:
        SimulatorError: it cannot be decoded, has more than 8 bits or no alpha channel, shows nothing or nothing else,
            is cut off at opposite sides, is too thin to be shrunk, or its part mask does not fit.
    """
    path = cutout.picture.path
    with opened(cutout.picture) as image:
        _require_8_bits(path, image.mode, "RGBA")
        if not image.has_transparency_data:
            raise SimulatorError(
                f"{path}: has no alpha channel; save the cut-out as RGBA, transparent around the instrument"
            )
        picture = image.convert("RGBA")
    opacity = np.array(picture.getchannel("A"))
    inside = opacity > OPAQUE / 2
    if not inside.any() or inside.all():
        what = "transparent" if not inside.any() else "opaque"
        raise SimulatorError(f"{path}: is {what} everywhere; make it transparent around the instrument, and only there")
    sides = _cut_sides(inside)
    for side, other in OPPOSITE.items():
        if side in sides and other in sides:
            raise SimulatorError(
                f"{path}: the instrument touches the picture's {side} and {other}; leave a transparent margin "
                "everywhere but where its shaft is cut off, and save each instrument in a file of its own"
            )
    parts = np.full(opacity.shape, SHAFT, np.uint8) if cutout.parts is None else _load_parts(cutout.parts, inside)
    box = _around(opacity > VISIBLE * OPAQUE)
    picture, marks = picture.crop(box), Image.fromarray(parts).crop(box)
    if max(picture.size) > LARGEST_CUTOUT:
        shrink = LARGEST_CUTOUT / max(picture.size)
        size = (max(round(picture.width * shrink), 1), max(round(picture.height * shrink), 1))
        picture, marks = picture.resize(size, Image.Resampling.BOX), marks.resize(size, Image.Resampling.NEAREST)
        if not (np.array(picture.getchannel("A")) > OPAQUE / 2).any():
            raise SimulatorError(
                f"{path}: is {opacity.shape[0]}x{opacity.shape[1]} pixels, and what it shows is too thin to be left "
                f"when its longer side is shrunk to {LARGEST_CUTOUT}; fill the instrument's whole outline, or remove it"
            )
    pixels = np.array(picture) / OPAQUE
    return OpenCutOut(pixels[..., :3], pixels[..., 3], np.array(marks), sides)


def _require_8_bits(path: Path, mode: str, wanted: str) -> None:
    """Modes I, I;16 and F are grey of more bits; converted, all that is above 255 of it would be white."""
    if mode.startswith(("I", "F")):
        raise SimulatorError(f"{path}: has mode {mode}, grey of more than 8 bits; save it as 8-bit {wanted}")


def _around(seen: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is seen, and two pixels more; the rest of a wide picture would only cost
    memory. Sides that cut the instrument off stay sides.
    """
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    height, width = seen.shape
    left, top = max(int(columns[0]) - 2, 0), max(int(rows[0]) - 2, 0)
    return left, top, min(int(columns[-1]) + 3, width), min(int(rows[-1]) + 3, height)


def _cut_sides(inside: NDArray[np.bool_]) -> tuple[str, ...]:
    lengths = {
        "left": int(inside[:, 0].sum()),
        "right": int(inside[:, -1].sum()),
        "top": int(inside[0].sum()),
        "bottom": int(inside[-1].sum()),
    }
    least = max(2.0, TOUCHING * max(lengths.values()))
    return tuple(side for side, length in lengths.items() if length >= least)


def _load_parts(picture: Picture, inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Part values (h, w); a pixel without one has that of the nearest pixel that has."""
    with opened(picture) as image:
        if image.mode not in ("1", "L", "P"):
            raise SimulatorError(
                f"{picture.path}: has mode {image.mode}; save the parts as 8-bit single-channel values"
            )
        parts = np.array(image).astype(np.uint8)
    if parts.shape != inside.shape:
        raise SimulatorError(
            f"{picture.path}: is {parts.shape[0]}x{parts.shape[1]} pixels, its cut-out {inside.shape[0]}x"
            f"{inside.shape[1]}; save both at one size"
        )
    marked = inside & (parts > 0)
    if not marked.any() or parts[marked].max() > CLASPER:
        raise SimulatorError(
            f"{picture.path}: holds the values {np.unique(parts[inside]).tolist()} on the instrument; expected "
            "1 (shaft), 2 (wrist) and 3 (clasper)"
        )
    nearest = distance_transform_edt(~marked, return_distances=False, return_indices=True)
    filled: NDArray[np.uint8] = parts[tuple(nearest)]
    return filled

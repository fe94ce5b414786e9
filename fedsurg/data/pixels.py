"""Decoding: image and mask files to arrays, with errors that say which file and why."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from fedsurg.errors import DataError

Pixels = NDArray[np.uint8]

UPRIGHT = 1  # of EXIF's orientations

# 1-bit masks hold 0 and 1, palette masks their indices; a colour mask has no value to look up.
_MASK_MODES = ("1", "L", "P")


def read_image(path: Path, size: tuple[int, int] | None = None) -> Pixels:
    """An image as (h, w, 3) uint8 RGB, at `size` (height, width) with antialiasing, or as large as it is.

    Raises:
        DataError: missing, truncated, not an image, turned by its EXIF, or of more than 8 bits to a channel.
    """
    with _opened(path) as image:
        if image.mode[0] in "IF":  # Pillow would cut off what is above 255
            raise DataError(f"{path}: has more than 8 bits to a channel (mode {image.mode}); export it as 8-bit")
        if size is not None:
            # A JPEG can be decoded at 1/2, 1/4 or 1/8 directly; Pillow keeps it at least as large as asked for.
            image.draft("RGB", size[::-1])
        turned = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
        if turned != UPRIGHT:
            raise DataError(
                f"{path}: its EXIF says that it is shown turned or mirrored (orientation {turned}), and masks do not "
                "say whether they are; export it as it is shown"
            )
        whole = image.convert("RGBA") if "transparency" in image.info else image
        picture = whole.convert("RGB")
        if size is None:
            return np.array(picture)
        return np.array(picture.resize(size[::-1], Image.Resampling.BILINEAR, reducing_gap=3.0))


def read_mask(path: Path, image: Path, label_of_value: Mapping[int, int]) -> Pixels:
    """The (h, w) uint8 label map of a mask, as large as the mask is.

    Args:
        image: the frame that the mask belongs to; both must have the same size.
        label_of_value: mask value -> label index.

    Raises:
        DataError: unreadable, not single-channel, of another size than its image, or with an unmapped value.
    """
    with _opened(image) as frame:
        expected = frame.size  # from the header; nothing is decoded
    with _opened(path) as mask:
        if mask.size != expected:
            raise DataError(
                f"{path}: the mask is {_size(mask.size)}, its image {image.name} is {_size(expected)} (width "
                "x height); export the mask at the image's size"
            )
        if mask.mode not in _MASK_MODES:
            raise DataError(f"{path}: the mask has mode {mask.mode}; export it as 8-bit single-channel values")
        values = np.asarray(mask).astype(np.uint8)
    table = _lookup(label_of_value)
    labels = table[values]
    if labels.min() < 0:
        strange = np.unique(values[labels < 0]).tolist()
        raise DataError(
            f"{path}: mask value {strange[0]} is not mapped ({_share(labels)} of the pixels); found "
            f"{np.unique(values).tolist()}, mapped are {sorted(label_of_value)}. Add it to mask_values or to "
            "ignore_values"
        )
    return labels.astype(np.uint8)


def resize_labels(labels: Pixels, size: tuple[int, int]) -> Pixels:
    """A label map at `size` (height, width), nearest neighbour."""
    height, width = size
    return np.array(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file; whatever goes wrong while it is open and decoded becomes one DataError."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; add it or remove its line from the manifest") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image; replace it or remove its line from the manifest") from None
    except DataError:
        raise
    except Exception as problem:  # Pillow's decoders raise whatever their format suggests: the file is damaged
        said = str(problem) or type(problem).__name__
        raise DataError(
            f"{path}: cannot be decoded ({said}); replace it or remove its line from the manifest"
        ) from problem


def _lookup(label_of_value: Mapping[int, int]) -> NDArray[np.int16]:
    table = np.full(256, -1, np.int16)
    for value, label in label_of_value.items():
        table[value] = label
    return table


def _share(labels: NDArray[np.int16]) -> str:
    return f"{100 * float((labels < 0).mean()):.1f} %"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"

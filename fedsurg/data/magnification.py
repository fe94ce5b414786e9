"""Magnification: how much a site enlarges its frames, so that its instruments look as wide as everybody's.

Sites film nearly the same instruments from very different distances: a forceps under a microscope may be a fortieth of
the frame's height wide, a shaft in the abdomen a ninth. What a network has learned of one it does not find again in the
other, and sites that average their networks pull each other apart. Training and predicting where objects have about
one size in pixels is an old remedy (SNIP; Singh & Davis 2018, "An analysis of scale invariance in object detection").
Here the factor is one number that a site finds in its own training labels. It is private like the site's queries: it
tells how a hospital films, and is never sent.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from fedsurg.data.clips import ClipDataset, evenly_spread
from fedsurg.data.labels import is_instrument
from fedsurg.data.pixels import Pixels, resize_labels

MAGNIFICATION = "magnification"  # the fact of a model's file that says how much its frames are enlarged

_STEP = 0.25  # factors are multiples of it: cases of a site differ by more, and sizes stay round
_ROWS = 512  # of a label are measured at most: enough for an instrument of a hundredth of the height
_FRAMES = 5  # of each case are measured, evenly spread: widths change little within a case, and files are large


def magnification(train: ClipDataset, apparent_width: float, largest: float) -> float:
    """The factor that makes the instruments of a site `apparent_width` wide, from its training labels.

    A case counts by the median of its frames, and the narrowest case decides: what is too small is not seen at all,
    what is too large is still seen. For the same reason frames are never made smaller.

    Args:
        train: the site's training frames, at any size.
        apparent_width: of the frame's height; 0: frames stay as they are.
        largest: the factor is at most that; it costs its square in scoring time.

    Returns:
        1 to `largest`, in quarters below it; 1 too where no training frame shows an instrument.

    Raises:
        DataError: a label file cannot be used.
    """
    if not apparent_width:
        return 1.0
    widths = [width for case in _by_case(train) if (width := _median(_widths(train, case)))]
    if not widths:
        return 1.0
    factor = round(apparent_width / min(widths) / _STEP) * _STEP
    return min(max(factor, 1.0), largest)


def magnified(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Height and width in pixels, enlarged."""
    return round(size[0] * factor), round(size[1] * factor)


def view_sizes(size: tuple[int, int], scales: Sequence[float], factor: float) -> list[tuple[int, int]]:
    """Heights and widths at which a finished model sees a frame: at each of `evaluation.scales`, and at each of them
    enlarged by the factor of the site whose model it is; each size once.
    """
    return list(dict.fromkeys(magnified(size, scale * more) for more in (1.0, factor) for scale in scales))


def instrument_width(label: NDArray[np.integer]) -> float:
    """How wide instruments are, of the frame's height; 0 where there is none.

    In a long strip the distance to the nearer edge is a quarter of the width in the mean.

    Args:
        label: (h, w) label indices; 0 is the background. What is not labelled (`IGNORE`) is no edge, nor is the
            frame's border: an instrument that it cuts off is taken to go on there.

    Returns:
        A share of the height, not in pixels; 1 where there is nothing but instruments.
    """
    instrument = is_instrument(label)
    if not instrument.any():
        return 0.0
    around = np.pad(label > 0, 1, mode="edge")
    if around.all():
        return 1.0
    to_edge = distance_transform_edt(around)[1:-1, 1:-1] - 0.5  # that was to the middle of a pixel outside
    return float(4 * to_edge[instrument].mean() / label.shape[0])


def _by_case(train: ClipDataset) -> list[list[int]]:
    """At most `_FRAMES` indices of each case."""
    cases: dict[str, list[int]] = {}
    for index in range(len(train)):
        cases.setdefault(train.row(index).case, []).append(index)
    return [[indices[place] for place in evenly_spread(len(indices), _FRAMES)] for indices in cases.values()]


def _widths(train: ClipDataset, indices: Iterable[int]) -> list[float]:
    labels = (_reduced(train.label_at_full_size(index).numpy().astype(np.uint8)) for index in indices)
    return [width for label in labels if (width := instrument_width(label))]


def _reduced(label: Pixels) -> Pixels:
    """A label map of at most `_ROWS` rows."""
    height, width = label.shape
    return label if height <= _ROWS else resize_labels(label, (_ROWS, round(width * _ROWS / height)))


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else 0.0

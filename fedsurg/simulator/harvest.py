"""Pictures to composite with, out of a site's own labelled frames: instruments as cut-outs, tissue as backgrounds.

Each instrument of a training frame becomes a file of its own, transparent where the mask says so; the largest rectangle
without an instrument becomes a photograph of tissue. What comes out is as private as the frames, and only its owner may
read it. Validation and test cases of the manifest are never read; folds of a study are not known here, so a study that
deals cases anew (`evaluation.folds`) would be scored on cases that these pictures show.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, find_objects
from scipy.ndimage import label as components

from fedsurg.data.labels import is_instrument, own_task
from fedsurg.data.pixels import Pixels, read_image, read_mask
from fedsurg.data.site import SiteData, load_site
from fedsurg.data.site_file import SITE_FILE, read_site_file
from fedsurg.errors import SimulatorError
from fedsurg.simulator.assets import PARTS_ENDING, CutOut, Picture
from fedsurg.simulator.mask_values import PART_VALUES
from fedsurg.simulator.pictures import load_cutout
from fedsurg.simulator.places import replaceable, scratch_beside

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]

BLACK = 8  # of 255: what is darker in every channel up to the picture's edge lies outside of the view
SMALLEST_INSTRUMENT = 0.005  # of the view's area; smaller pieces are specks of a mask
SMALLEST_TISSUE = 0.3  # of the view's shorter side
MARGIN = 3  # transparent pixels left around an instrument, and tissue kept away from it
CELL = 4  # pixels; rectangles of tissue are sought on a grid


@dataclass(frozen=True)
class Harvest:
    """How many pictures were written, and how many instruments were passed over as no use."""

    backgrounds: int
    instruments: int
    passed_over: int


@dataclass(frozen=True)
class _Frame:
    """A picture (h, w, 3) and its labels (h, w) without black borders; `view` (h, w): what is inside a round view."""

    picture: Pixels
    labels: Pixels
    view: Mask


def harvest(folders: tuple[Path, ...], out: Path, most: int) -> Harvest:
    """Write `out/backgrounds` and `out/instruments` from the train splits of site folders; all of it or nothing.

    Args:
        folders: of site data.
        out: must not exist yet, or be empty.
        most: frames of each site, evenly spread over its training frames.

    Raises:
        DataError: a site folder, or a file of it, that cannot be used.
        SimulatorError: `out` holds something or cannot be written, or there is nothing to cut out.
    """
    sites = [_site(folder) for folder in dict.fromkeys(folder.resolve() for folder in folders)]
    out = replaceable(out)
    try:
        _require_empty(out)
        with scratch_beside(out) as partial:
            found = _write(sites, partial, most)
            if not (found.backgrounds or found.instruments):
                raise SimulatorError(f"{out}: nothing could be cut out; the training frames show no whole instrument")
            _require_empty(out)  # another run may have finished meanwhile
            partial.replace(out)  # and even now it fails rather than to mix the pictures of two runs
    except OSError as problem:
        raise SimulatorError(
            f"{out}: cannot be written ({problem.strerror or problem}); check permissions and free space"
        ) from problem
    return found


def _require_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SimulatorError(f"{out}: is not empty; choose another folder for the cut-outs")


def _site(folder: Path) -> SiteData:
    """A site as it labels for itself: all but the background is an instrument."""
    return load_site(folder, own_task(read_site_file(folder), where=str(folder / SITE_FILE)))


def _write(sites: Sequence[SiteData], out: Path, most: int) -> Harvest:
    for name in ("backgrounds", "instruments"):
        (out / name).mkdir()
    tissue = instruments = passed_over = 0
    for number, site in enumerate(sites):
        for place, frame in enumerate(_frames(site, most)):
            name = f"site{number}-{place:04d}"  # no name of a hospital, a case or a clip
            box = largest_rectangle(frame.view & ~binary_dilation(frame.labels > 0, iterations=MARGIN), CELL)
            if box and min(_size(box)) >= SMALLEST_TISSUE * min(frame.view.shape):
                Image.fromarray(frame.picture[box]).save(out / "backgrounds" / f"{name}.png")
                tissue += 1
            for index, piece in enumerate(_pieces(is_instrument(frame.labels))):
                used = _write_cutout(out / "instruments" / f"{name}-{index}.png", frame, piece, site)
                instruments, passed_over = instruments + used, passed_over + (not used)
    return Harvest(tissue, instruments, passed_over)


def largest_rectangle(free: Mask, cell: int = 1) -> Box | None:
    """The largest rectangle of (h, w) that is free everywhere, on a grid of `cell` pixels; None if there is none.

    Row by row, each column's free height is a bar, and the largest rectangle below the bars is found with a stack.
    """
    height, width = (side // cell for side in free.shape)
    cells: Mask = np.asarray(free[: height * cell, : width * cell].reshape(height, cell, width, cell).all(axis=(1, 3)))
    bars, best, found = np.zeros(width + 1, int), 0, None
    for row in range(height):
        bars[:width] = (bars[:width] + 1) * cells[row]
        rising: list[int] = []  # columns whose bars begin ever higher
        for column, bar in enumerate(bars):
            while rising and bars[rising[-1]] >= bar:
                tall = bars[rising.pop()]
                left = rising[-1] + 1 if rising else 0
                if tall * (column - left) > best:
                    best = int(tall * (column - left))
                    found = (row - tall + 1, row + 1, left, column)
            rising.append(column)
    if found is None:
        return None
    top, bottom, left, right = (int(edge) * cell for edge in found)
    return slice(top, bottom), slice(left, right)


def _frames(site: SiteData, most: int) -> Iterator[_Frame]:
    """Training frames, evenly spread."""
    rows = site.split("train")
    chosen = sorted({int(place) for place in np.linspace(0, len(rows) - 1, min(most, len(rows)))})
    for image, mask in rows.iloc[chosen][["image", "mask"]].itertuples(index=False):
        picture = read_image(site.root / image)
        labels = read_mask(site.root / mask, site.root / image, site.label_of_value)
        view = _view(picture, labels)
        if view.any():
            box = _around(view)
            yield _Frame(picture[box], labels[box], view[box])


def _view(picture: Pixels, labels: Pixels) -> Mask:
    """What is not the black surround: dark, no instrument, and joined to the picture's edge."""
    dark = (picture.max(axis=2) < BLACK) & (labels == 0)
    numbered, _ = components(dark)
    at_the_edge = np.unique(np.concatenate([numbered[0], numbered[-1], numbered[:, 0], numbered[:, -1]]))
    view: Mask = ~np.isin(numbered, at_the_edge[at_the_edge > 0])
    return view


def _pieces(instrument: Mask) -> Iterator[Mask]:
    """Each connected piece of an instrument mask that is large enough, (h, w)."""
    numbered, count = components(instrument)
    for number in range(1, count + 1):
        piece: Mask = numbered == number
        if piece.mean() >= SMALLEST_INSTRUMENT:
            yield piece


def _write_cutout(file: Path, frame: _Frame, piece: Mask, site: SiteData) -> bool:
    """One instrument, cut off where the frame cuts it off; False, and no file, where it is of no use: the simulator
    cannot take it, or a round view cuts it off, which no side of a picture can say.
    """
    inner = (slice(2 * MARGIN, -2 * MARGIN),) * 2  # what is black along a straight side cuts like that side
    if (piece & binary_dilation(~frame.view, iterations=MARGIN))[inner].any():
        return False
    picture, labels = frame.picture, frame.labels
    (box,) = find_objects(piece.astype(int))
    box = tuple(_side(side, length) for side, length in zip(box, piece.shape, strict=True))
    alpha = np.where(piece, 255, 0).astype(np.uint8)[..., None]
    Image.fromarray(np.concatenate([picture, alpha], axis=2)[box]).save(file)
    parts = file.with_name(file.name.removesuffix(".png") + PARTS_ENDING)
    if set(site.labels.names[1:]) <= set(PART_VALUES):
        values = np.array([0, *(PART_VALUES[name] for name in site.labels.names[1:])], np.uint8)
        Image.fromarray(np.where(piece, values[np.where(piece, labels, 0)], 0).astype(np.uint8)[box]).save(parts)
    try:
        load_cutout(CutOut(_picture(file), _picture(parts) if parts.exists() else None))
    except SimulatorError:
        file.unlink()
        parts.unlink(missing_ok=True)
        return False
    return True


def _side(side: slice, length: int) -> slice:
    """With a margin; but masks often end a little before the frame does, and there the instrument is cut off."""
    start = side.start if side.start <= MARGIN else side.start - MARGIN
    stop = side.stop if side.stop >= length - MARGIN else side.stop + MARGIN
    return slice(start, stop)


def _picture(file: Path) -> Picture:
    return Picture(file.name, file, hashlib.sha256(file.read_bytes()).hexdigest())


def _around(seen: Mask) -> Box:
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _size(box: Box) -> tuple[int, int]:
    tall, wide = (side.stop - side.start for side in box)
    return tall, wide

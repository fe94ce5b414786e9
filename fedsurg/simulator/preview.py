"""A contact sheet of the simulator: one row per profile, masks outlined."""

import io
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedsurg.errors import SimulatorError
from fedsurg.files import write_atomic
from fedsurg.simulator.dataset import Progress, render
from fedsurg.simulator.request import RenderRequest

OUTLINES = {1: (0, 255, 0), 2: (255, 220, 0), 3: (0, 200, 255)}  # shaft, wrist, clasper


def contact_sheet(
    profiles: tuple[str, ...],
    out: Path,
    *,
    columns: int = 6,
    seed: int = 0,
    size: tuple[int, int] = (160, 192),
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Writes a PNG to `out`: `columns` cases of each profile, drawn from `seed`, `size` (h, w) each.

    Raises:
        SimulatorError: see `render`; or `out` cannot be written.
    """
    request = RenderRequest(profiles, len(profiles) * columns, 1, seed, *size)
    with tempfile.TemporaryDirectory() as scratch:
        folder = render(request, Path(scratch) / "sheet", workers=workers, progress=progress)
        names = [f"clip{clip:05d}_00000" for clip in range(request.clips)]
        tiles = [_outlined(folder / f"images/{name}.jpg", folder / f"masks/{name}.png") for name in names]
    count = len(profiles)  # clips cycle through the profiles, so every count-th one has the same
    rows = [np.concatenate(tiles[row::count], axis=1) for row in range(count)]
    _write_png(np.concatenate(rows), out)
    return out


def _outlined(image: Path, mask: Path) -> NDArray[np.uint8]:
    with Image.open(image) as colours, Image.open(mask) as parts:
        picture, labels = np.array(colours), np.array(parts)
    edge = np.zeros(labels.shape, bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    for part, colour in OUTLINES.items():
        picture[edge & (labels == part)] = colour
    return picture


def _write_png(picture: NDArray[np.uint8], out: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    write_atomic(out, stream.getvalue(), error=SimulatorError)

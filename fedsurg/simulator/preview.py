"""A contact sheet of the simulator: a captioned row per profile, masks outlined; real frames below to compare with."""

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from fedsurg.data.outlines import label_colour, outline, rgb
from fedsurg.errors import DataError, SimulatorError
from fedsurg.files import require_writable, write_atomic
from fedsurg.simulator.assets import RENDERED, Assets
from fedsurg.simulator.dataset import Progress, render
from fedsurg.simulator.mask_values import INSTRUMENT
from fedsurg.simulator.places import scratch_beside
from fedsurg.simulator.profiles import PROFILES
from fedsurg.simulator.request import RenderRequest

CAPTION_PX, TEXT_PX = 16, 11  # height of the line above each row, and of its letters
# of a mask's values; a whole instrument is drawn as a shaft
_COLOURS = {value: rgb(label_colour(index)) for value, index in ((1, 1), (2, 2), (3, 3), (INSTRUMENT, 1))}


def contact_sheet(
    profiles: tuple[str, ...],
    out: Path,
    *,
    columns: int = 6,
    seed: int = 0,
    size: tuple[int, int] = (160, 192),
    assets: Assets = RENDERED,
    beside: Path | None = None,
    worn: bool = False,
    seconds: float | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Writes a PNG to `out`: `columns` pictures for each profile, drawn from `seed`, `size` (h, w) each.

    Args:
        assets: photographs and cut-outs to use; cut-outs without part masks are outlined as whole instruments.
        beside: a folder of site data; as many of its frames, drawn from `seed`, become the last row.
        worn: whether the cameras are worn, see `RenderRequest`.
        seconds: a row shows one clip of this length, evenly; None: it shows the beginnings of several cases.

    Raises:
        SimulatorError: see `render`; `seconds` is no time; or `out` cannot be written.
        DataError: `beside` holds no site data, or one of its frames cannot be read.
    """
    _check_place(out)
    if seconds is not None and not 0 < seconds < math.inf:
        raise SimulatorError(f"seconds is {seconds}; give the length of a clip, above 0")
    whole = assets.without_parts is not None
    clips, frames = (len(profiles) * columns, 1) if seconds is None else (len(profiles), columns)
    request = RenderRequest(profiles, clips, frames, seed, *size, whole_instruments=whole, assets=assets, worn=worn)
    if seconds is not None:
        request = replace(request, frame_rate_hz=columns / seconds)
    request.check()
    below = [] if beside is None else [_row("real frames", _frames_of(beside, columns, seed, size))]
    with scratch_beside(out) as scratch:  # not in /tmp: its frames are as private as the pictures in them
        folder = render(request, scratch / "sheet", workers=workers, progress=progress)
        names = [f"clip{clip:05d}_{frame:05d}" for frame in range(frames) for clip in range(clips)]
        tiles = [_outlined(folder / f"images/{name}.jpg", folder / f"masks/{name}.png") for name in names]
    count = len(profiles)  # clips cycle through the profiles, so every count-th picture has the same
    rows = [_row(f"{name}: {PROFILES[name].summary}", tiles[row::count]) for row, name in enumerate(profiles)]
    _write_png(np.concatenate(rows + below), out)
    return out


def _check_place(out: Path) -> None:
    """Before anything is rendered: the sheet can be written, and is what its name says.

    Raises:
        SimulatorError: it cannot.
    """
    if out.suffix.lower() != ".png":
        raise SimulatorError(f"{out}: a contact sheet is a PNG; give a name that ends in .png")
    require_writable(out, error=SimulatorError)


def _frames_of(folder: Path, count: int, seed: int, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Frames (h, w, 3) of a site, of as many different cases as there are, cropped to the shape of `size`."""
    from fedsurg.data.manifest import find_manifest, path_problem, read_manifest
    from fedsurg.data.pixels import read_image

    path = find_manifest(folder)
    rows = read_manifest(path).sample(frac=1, random_state=seed % 2**32)
    new_case = ~rows["case"].duplicated()
    names = [*rows["image"][new_case], *rows["image"][~new_case]]
    tiles = []
    for name in (names * count)[:count]:
        problem = path_problem(folder, name)
        if problem:
            raise DataError(f"{path}: image {name!r} {problem}")
        frame = Image.fromarray(read_image(folder / name))
        tiles.append(np.array(ImageOps.fit(frame, size[::-1], Image.Resampling.BICUBIC)))
    return tiles


def _row(caption: str, tiles: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures (h, w, 3) side by side below a line of text, which ends where they do."""
    pictures = np.concatenate(tiles, axis=1)
    line = Image.new("RGB", (pictures.shape[1], CAPTION_PX))
    ImageDraw.Draw(line).text((4, 1), caption, (235, 235, 235), ImageFont.load_default(TEXT_PX))
    return np.concatenate([np.array(line), pictures])


def _outlined(image: Path, mask: Path) -> NDArray[np.uint8]:
    with Image.open(image) as colours, Image.open(mask) as parts:
        picture, labels = np.array(colours), np.array(parts)
    edge = outline(labels)
    for value, colour in _COLOURS.items():
        picture[edge & (labels == value)] = colour
    return picture


def _write_png(picture: NDArray[np.uint8], out: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    write_atomic(out, stream.getvalue(), error=SimulatorError)

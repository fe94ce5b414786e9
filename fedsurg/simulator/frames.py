"""Writes the frames of one clip; runs inside a renderer process."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fedsurg.errors import SimulatorError
from fedsurg.files import derived_seed
from fedsurg.simulator.clip import ClipSeeds, draw_clip
from fedsurg.simulator.dataset import INSTRUMENT_VALUE
from fedsurg.simulator.profiles import profile_named
from fedsurg.simulator.request import RenderRequest

JPEG_QUALITY = 95


def seeds_of(request: RenderRequest, clip: int) -> ClipSeeds:
    """What the clip is drawn from; clips of a case share anatomy and instruments."""
    case = derived_seed("case", request.seed, request.case_of(clip))
    look = case if request.look_seed is None else derived_seed("site look", request.look_seed)
    return ClipSeeds(look=look, case=case, clip=derived_seed("clip", request.seed, clip))


def write_clip(request: RenderRequest, clip: int, folder: Path) -> list[dict[str, object]]:
    """Renders clip number `clip` into `folder` and returns its manifest rows.

    Raises:
        SimulatorError: the disk is full or not writable.
    """
    seeds = seeds_of(request, clip)
    duration = request.frames / request.frame_rate_hz
    drawn = draw_clip(profile_named(request.profile_of(clip)), seeds, request.height, request.width, duration)
    painter = drawn.painter()
    rows: list[dict[str, object]] = []
    for number in range(request.frames):
        picture, mask = drawn.frame(painter, number, number / request.frame_rate_hz)
        if request.whole_instruments:
            mask = np.where(mask > 0, INSTRUMENT_VALUE, 0).astype(np.uint8)
        name = f"clip{clip:05d}_{number:05d}"
        row = {"image": f"images/{name}.jpg", "mask": f"masks/{name}.png"}
        _save(Image.fromarray(picture), folder / row["image"], quality=JPEG_QUALITY)
        _save(Image.fromarray(mask), folder / row["mask"])
        case = f"case{request.case_of(clip):04d}"
        rows.append(row | {"case": case, "clip": f"clip{clip:05d}", "frame": number, "split": request.split_of(clip)})
    return rows


def _save(picture: Image.Image, path: Path, **options: Any) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        picture.save(path, **options)
    except OSError as problem:
        raise SimulatorError(
            f"{path}: cannot be written ({problem.strerror or problem}); free some space and run the same command "
            "again, finished clips are kept"
        ) from problem

"""Writes the frames of one clip; runs inside a renderer process."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedsurg.errors import SimulatorError
from fedsurg.files import derived_seed
from fedsurg.simulator.clip import Clip, ClipSeeds, Frame, draw_clip
from fedsurg.simulator.compositing import Scene, draw_scene
from fedsurg.simulator.dataset import DEPTH_STEP_MM
from fedsurg.simulator.ingredients import Recipe
from fedsurg.simulator.mask_values import INSTRUMENT
from fedsurg.simulator.profiles import profile_named
from fedsurg.simulator.request import RenderRequest

JPEG_QUALITY = 95
DEEPEST = 65535  # of a 16-bit depth map


def seeds_of(request: RenderRequest, clip: int) -> ClipSeeds:
    """What the clip is drawn from; clips of a case share anatomy and instruments."""
    case = derived_seed("case", request.seed, request.case_of(clip))
    look = case if request.look_seed is None else derived_seed("site look", request.look_seed)
    return ClipSeeds(look=look, case=case, clip=derived_seed("clip", request.seed, clip))


def photograph_of(request: RenderRequest, clip: int) -> int:
    """Number of the background that the clip's case has; the cases take turns, so all are used about equally often."""
    count = len(request.assets.backgrounds)
    if not count:
        return 0
    turns = np.random.default_rng(derived_seed("backgrounds", request.seed)).permutation(count)
    return int(turns[request.case_of(clip) % count])


@dataclass(frozen=True)
class WrittenClip:
    """What is known of a clip on disk: its manifest rows, and the type of each instrument by its number."""

    rows: list[dict[str, object]]
    instruments: dict[str, str]


def write_clip(request: RenderRequest, clip: int, folder: Path) -> WrittenClip:
    """Renders clip number `clip` into `folder`.

    Raises:
        SimulatorError: the disk is full or not writable.
    """
    scene, shoot = _scene(request, clip)
    rows: list[dict[str, object]] = []
    pictures: list[NDArray[np.uint8]] = []
    for number in range(request.frames):
        time = number / request.frame_rate_hz
        frame = shoot(number, time)
        name = f"clip{clip:05d}_{number:05d}"
        case = {"case": f"case{request.case_of(clip):04d}", "clip": f"clip{clip:05d}", "frame": number}
        row = _write_frame(frame, request, folder, name) | case
        rows.append(row | {"split": request.split_of(clip), "activity": scene.activity(time)})
        if request.video:
            pictures.append(frame.picture)
    if request.video:
        _write_video(pictures, request.frame_rate_hz, folder / f"videos/clip{clip:05d}.mp4")
    return WrittenClip(rows, {str(number): kind for number, kind in enumerate(scene.kinds, 1)})


def _scene(request: RenderRequest, clip: int) -> tuple[Clip | Scene, Callable[[int, float], Frame]]:
    """The drawn clip, and what renders a frame of it by number and time."""
    profile = profile_named(request.profile_of(clip))
    seeds, size = seeds_of(request, clip), (request.height, request.width)
    duration, recipe = request.frames / request.frame_rate_hz, Recipe(frozenset(request.plain), request.worn)
    if not request.assets:
        drawn = draw_clip(profile, seeds, *size, duration, recipe)
        return drawn, partial(drawn.frame, drawn.painter())
    scene = draw_scene(profile, seeds, size, duration, request.assets, photograph_of(request, clip), recipe)
    return scene, scene.frame


def _write_frame(frame: Frame, request: RenderRequest, folder: Path, name: str) -> dict[str, object]:
    """Picture and labels of one frame; returns the manifest's paths."""
    mask = frame.parts
    if request.whole_instruments:
        mask = np.where(mask > 0, INSTRUMENT, 0).astype(np.uint8)
    row: dict[str, object] = {"image": f"images/{name}.jpg", "mask": f"masks/{name}.png"}
    _save(frame.picture, folder / f"images/{name}.jpg", quality=JPEG_QUALITY)
    _save(mask, folder / f"masks/{name}.png")
    if "instances" in request.labels:
        _save(frame.instances, folder / f"instances/{name}.png")
    if "depth" in request.labels:
        steps = np.clip(np.round(frame.depth / DEPTH_STEP_MM), 0, DEEPEST).astype(np.uint16)
        _save(steps, folder / f"depth/{name}.png")
    return row


def _write_video(pictures: list[NDArray[np.uint8]], frame_rate_hz: float, path: Path) -> None:
    from fedsurg.simulator.video import h264

    _write(h264(pictures, frame_rate_hz), path)


def _save(picture: NDArray[Any], path: Path, **options: Any) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, {".jpg": "JPEG", ".png": "PNG"}[path.suffix], **options)
    _write(stream.getvalue(), path)


def _write(content: bytes, path: Path) -> None:
    # Not atomic: until its clip has a record, a file is nothing that anybody would read.
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    except OSError as problem:
        raise SimulatorError(
            f"{path}: cannot be written ({problem.strerror or problem}); free some space and run the same command again"
        ) from problem

"""`fedsurg data check`: read everything in a site folder, and collect all that is wrong with it."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedsurg.data.labels import IGNORE, label_indices, label_space, own_task
from fedsurg.data.manifest import SPLITS, find_manifest, path_problem, problems_of, read_manifest
from fedsurg.data.pixels import read_image, read_mask
from fedsurg.data.site import SiteData
from fedsurg.data.site_file import SITE_FILE, read_site_file
from fedsurg.errors import DataError
from fedsurg.study.config import TaskConfig
from fedsurg.workers import usable_processors

# Stands in when `site.toml` is unusable: masks are then checked for everything but their values.
_ANY_VALUE: Mapping[int, int] = dict.fromkeys(range(256), IGNORE)


@dataclass(frozen=True)
class SplitReport:
    """What one split holds."""

    cases: int
    clips: int
    frames: int
    shares: dict[str, float]  # label -> share of the labelled pixels, 0-1
    unlabelled: float  # share of all pixels with an ignored value, 0-1


@dataclass(frozen=True)
class SiteReport:
    """The outcome of a check: a problem has to be mended before training, a warning looked at."""

    folder: str
    name: str
    procedure: str
    labels: tuple[str, ...]
    missing: tuple[str, ...]  # classes that the site never labels
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    splits: dict[str, SplitReport]

    @property
    def ok(self) -> bool:
        """No problems."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`: the fields, and `ok`."""
        return {"ok": self.ok, **asdict(self)}


@dataclass(frozen=True)
class _Head:
    """What the report says of the site itself."""

    name: str = ""
    procedure: str = ""
    labels: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    frame_rate_hz: float | None = None  # None: not known
    values: Mapping[int, int] = field(default_factory=lambda: _ANY_VALUE)  # mask value -> label index


@dataclass(frozen=True)
class _Read:
    """What was found in the two files of a row."""

    problems: tuple[str, ...]
    picture: bytes = b""  # digest of the decoded image; empty: not readable
    pixels: NDArray[np.int64] | None = None  # (256,) pixels per label index; None: mask not readable


def check_site(
    folder: Path,
    task: TaskConfig | None = None,
    *,
    pixels: bool = True,
    on_frame: Callable[[int, int], None] | None = None,
) -> SiteReport:
    """Check a site folder: site file, manifest, every image and every mask.

    Args:
        task: what the site's names must fit; without one they are taken as they are.
        pixels: read images and masks too; without, a check of moments that says nothing about shares.
        on_frame: called with frames done and frames in all.
    """
    problems: list[str] = []
    head = _head(folder, task, problems)
    rows, manifest = _rows(folder, problems)
    reads: list[_Read] = []
    for read in _read_all(folder, rows, head.values) if pixels else [_Read(())] * len(rows):
        reads.append(read)
        problems += read.problems
        if on_frame:
            on_frame(len(reads), len(rows))
    return SiteReport(
        folder=str(folder),
        name=head.name,
        procedure=head.procedure,
        labels=head.labels,
        missing=head.missing,
        problems=tuple(problems),
        warnings=(
            *_leaks(rows, reads, manifest),
            *_never_seen(head.labels, reads, folder),
            *_stills(head, rows, folder),
        ),
        splits={split: _split_report(found, reads, head.labels) for split, found in _by_split(rows)},
    )


def check_pixels(site: SiteData, *, on_frame: Callable[[int, int], None] | None = None) -> None:
    """Read every image and mask of a site, so that a run of hours does not end at its last one.

    Raises:
        DataError: naming the first file that is missing, no image, of another size, or holds an unmapped value.
    """
    columns = (site.frames["image"].tolist(), site.frames["mask"].tolist())
    for done, (image, mask) in enumerate(zip(*columns, strict=True), 1):
        read_image(site.root / image)
        read_mask(site.root / mask, site.root / image, site.label_of_value)
        if on_frame:
            on_frame(done, len(site.frames))


def _head(folder: Path, task: TaskConfig | None, problems: list[str]) -> _Head:
    """As much as can be had of the site file; what is wrong with it is added to `problems`."""
    head = _Head()
    where = str(folder / SITE_FILE)
    try:
        site = read_site_file(folder)
        head = _Head(site.name, site.procedure, frame_rate_hz=site.frame_rate_hz)
        task = task or own_task(site, where=where)
        labels = label_space(site, task, where=where)
    except DataError as problem:
        problems.append(str(problem))
        return head
    missing = tuple(task.classes[index] for index in labels.missing)
    return replace(head, labels=labels.names, missing=missing, values=label_indices(site, task, labels))


def _rows(folder: Path, problems: list[str]) -> tuple[pd.DataFrame, Path]:
    """The manifest's rows, numbered from 0 with their line in `line`; none if it cannot be read."""
    if not folder.is_dir():  # already reported, as a site file that cannot be read
        return pd.DataFrame({"split": []}), folder
    try:
        manifest = find_manifest(folder)
        rows = read_manifest(manifest)
    except DataError as problem:
        problems.append(str(problem))
        return pd.DataFrame({"split": []}), folder
    problems += problems_of(rows, manifest)
    empty = [split for split in ("train", "val") if split not in set(rows["split"])]
    if set(rows["split"]) != {"test"}:  # a site that only tests trains on nothing
        problems += [f"{manifest}: split {split!r} is empty; give at least one case split = {split}" for split in empty]
    return rows.rename_axis("line").reset_index(), manifest


def _read_all(folder: Path, rows: pd.DataFrame, values: Mapping[int, int]) -> Iterator[_Read]:
    """Read the files of each row, in order; several at a time, as decoding runs outside Python's lock."""
    if rows.empty:
        return
    with ThreadPoolExecutor(min(8, usable_processors())) as pool:
        yield from pool.map(partial(_read, folder, values=values), rows["image"], rows["mask"])


def _read(folder: Path, image: str, mask: str, values: Mapping[int, int]) -> _Read:
    """Decode one row; a file that the manifest may not name was reported with the manifest."""
    if path_problem(folder, image):
        return _Read(())
    try:
        picture = hashlib.sha256(read_image(folder / image).tobytes()).digest()
    except DataError as problem:
        return _Read((str(problem),))
    if path_problem(folder, mask):
        return _Read((), picture)
    try:
        labels = read_mask(folder / mask, folder / image, values)
    except DataError as problem:
        return _Read((str(problem),), picture)
    return _Read((), picture, np.bincount(labels.ravel(), minlength=256))


def _by_split(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(split, rows[rows["split"] == split]) for split in SPLITS if split in set(rows["split"])]


def _split_report(rows: pd.DataFrame, reads: list[_Read], names: tuple[str, ...]) -> SplitReport:
    pixels = sum((read.pixels for row in rows.index if (read := reads[row]).pixels is not None), np.zeros(256))
    labelled = float(pixels.sum() - pixels[IGNORE])
    return SplitReport(
        cases=rows["case"].nunique(),
        clips=len(rows[["case", "clip"]].drop_duplicates()),
        frames=len(rows),
        shares={name: float(pixels[label]) / labelled for label, name in enumerate(names) if labelled},
        unlabelled=float(pixels[IGNORE] / pixels.sum()) if names and pixels.sum() else 0.0,
    )


def _leaks(rows: pd.DataFrame, reads: list[_Read], manifest: Path) -> Iterator[str]:
    """Pictures that are in two splits under different names."""
    first: dict[bytes, int] = {}
    for row, read in enumerate(reads):
        before = first.setdefault(read.picture, row) if read.picture else row
        if rows["split"][before] != rows["split"][row]:
            yield (
                f"{manifest}: lines {rows['line'][before]} ({rows['split'][before]}) and {rows['line'][row]} "
                f"({rows['split'][row]}) show the same picture, {rows['image'][row]}; scores would be on "
                "data trained on"
            )


def _never_seen(names: tuple[str, ...], reads: list[_Read], folder: Path) -> Iterator[str]:
    """Labels that no mask has: perhaps the site does not label them at all, which the loss must know."""
    masks = [read.pixels for read in reads if read.pixels is not None]
    for label, name in enumerate(names):
        if masks and not any(pixels[label] for pixels in masks):
            yield (
                f"{folder / SITE_FILE}: {name!r} is in none of the {len(masks)} masks; if the site never "
                f"labels it, replace its mask value by missing = [{name!r}]"
            )


def _stills(head: _Head, rows: pd.DataFrame, folder: Path) -> Iterator[str]:
    """Clips of several frames that nobody calls video: they would be seen without the frames before them."""
    if head.frame_rate_hz != 0 or rows.empty:
        return
    clips = int((rows.groupby(["case", "clip"]).size() > 1).sum())
    if clips:
        yield (
            f"{folder / SITE_FILE}: frame_rate_hz is 0, so the frames of {clips} clips are taken as single pictures; "
            "if they are video, give their rate"
        )

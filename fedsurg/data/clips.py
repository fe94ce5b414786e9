"""Clips: a labelled frame with the frames before it, decoded once."""

import threading
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from fedsurg.data.pixels import Pixels, read_image, read_mask, resize_labels
from fedsurg.data.site import SiteData
from fedsurg.errors import DataError


class FrameId(NamedTuple):
    """Where a labelled frame comes from."""

    case: str
    clip: str
    frame: int


@dataclass(frozen=True)
class Clip:
    """One training sample."""

    frames: Tensor  # (t, 3, h, w) uint8 RGB, oldest first, the labelled frame last
    label: Tensor  # (h, w) int64 label indices, IGNORE where not labelled


class ClipDataset:
    """The clips of some rows of a site, at one size.

    A clip is a labelled frame and the `history` frames before it in the same clip of the same case, the
    oldest repeated when there are fewer. At a site of single frames t = 1 instead of history + 1: repeating
    a still image would only cost time.

    Args:
        site: the site whose files are read; history is looked up in all of its frames.
        rows: the labelled frames to serve, rows of `site.frames`.
        size: height, width in pixels of the frames and labels.
        history: how many past frames the network sees.
        cache_bytes: how much to keep in memory of what was decoded and resized. Random access gains nothing
            from evicting, so what comes after the limit is decoded anew each time.

    Raises:
        DataError: `rows` is empty; later, on access: a file that cannot be decoded, a mask that does not fit.
    """

    def __init__(
        self,
        site: SiteData,
        rows: pd.DataFrame,
        size: tuple[int, int],
        history: int,
        cache_bytes: int = 2 << 30,
    ) -> None:
        if rows.empty:
            raise DataError(f"site {site.name!r}: no frames to serve, the split is empty; check the manifest's splits")
        self.site = site
        self.size = size
        images_of = _images_by_clip(site.frames)
        video = site.frame_rate_hz > 0 and any(len(images) > 1 for _, images in images_of.values())
        self.length = history + 1 if video else 1  # t
        self._rows = [
            FrameId(case, clip, int(frame))
            for case, clip, frame in zip(rows["case"], rows["clip"], rows["frame"], strict=True)
        ]
        self._masks = list(rows["mask"])
        self._images = [self._window(row, *images_of[row.case, row.clip]) for row in self._rows]
        self._cache = _Cache(cache_bytes)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Clip:
        """The clip of row `index`, unaugmented.

        Raises:
            DataError: a file that is missing, damaged or does not fit; names it.
        """
        frames = [self._cache.get(name, partial(self._frame, name)) for name in self._images[index]]
        label = self._cache.get(self._masks[index], partial(self._label, index))
        return Clip(torch.stack(frames), label.to(torch.int64))

    def row(self, index: int) -> FrameId:
        """Case, clip and frame of row `index`."""
        return self._rows[index]

    def label_at_full_size(self, index: int) -> Tensor:
        """(H, W) int64 label map of row `index` at the size of its file: what scores are computed on."""
        return torch.from_numpy(self._full_label(index)).to(torch.int64)

    def _window(self, row: FrameId, frames: list[int], images: list[str]) -> tuple[str, ...]:
        """The `length` image names up to and including `row`, oldest first, of those of its clip."""
        end = bisect_right(frames, row.frame)
        past = images[max(end - self.length, 0) : end]
        return (past[0],) * (self.length - len(past)) + tuple(past)

    def _frame(self, name: str) -> Tensor:
        return torch.from_numpy(read_image(self.site.root / name, self.size)).permute(2, 0, 1).contiguous()

    def _label(self, index: int) -> Tensor:
        return torch.from_numpy(resize_labels(self._full_label(index), self.size))

    def _full_label(self, index: int) -> Pixels:
        image, mask = self.site.root / self._images[index][-1], self.site.root / self._masks[index]
        return read_mask(mask, image, self.site.label_of_value)


def evenly_spread(count: int, at_most: int) -> list[int]:
    """Indices 0..count-1, or `at_most` of them at equal distances; 0: all."""
    if not at_most or at_most >= count:
        return list(range(count))
    return [(2 * place + 1) * count // (2 * at_most) for place in range(at_most)]


class _Cache:
    """Tensors by name, up to a number of bytes; safe to use from several threads."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._kept: dict[str, Tensor] = {}
        self._lock = threading.Lock()

    def get(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        kept = self._kept.get(name)
        if kept is not None:
            return kept
        made = make()
        with self._lock:
            if name not in self._kept and made.nbytes <= self._left:
                self._kept[name] = made
                self._left -= made.nbytes
        return made


def _images_by_clip(frames: pd.DataFrame) -> dict[tuple[str, str], tuple[list[int], list[str]]]:
    """(case, clip) -> numbers of its frames, ascending, and their image names."""
    ordered = frames.sort_values("frame", kind="stable")
    images: dict[tuple[str, str], tuple[list[int], list[str]]] = {}
    columns = (ordered[column] for column in ("case", "clip", "frame", "image"))
    for case, clip, frame, image in zip(*columns, strict=True):
        numbers, names = images.setdefault((case, clip), ([], []))
        numbers.append(int(frame))
        names.append(image)
    return images

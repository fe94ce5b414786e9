"""Loaders: what is drawn, that threads change nothing, and how they end."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fedsurg.data.augment import Augmentation
from fedsurg.data.clips import ClipDataset
from fedsurg.data.loader import ClipLoader, PooledLoader
from fedsurg.data.normalisation import normalise
from fedsurg.data.site import SiteData, load_site
from fedsurg.errors import DataError
from fedsurg.study.config import AugmentationConfig, TaskConfig

SIZE = (48, 64)


@pytest.fixture
def dataset(site: SiteData) -> ClipDataset:
    return ClipDataset(site, site.split("train"), SIZE, 1)


def rows_drawn(loader: ClipLoader, steps: int, seed: int) -> list[int]:
    """Rows of the manifest, read from the grey value of the current frames."""
    reds = [batch.frames[:, -1, 0, 0, 0] for batch in loader.batches(steps, seed)]
    greys = (torch.cat(reds) * 0.229 + 0.485) * 255  # normalisation taken back
    return [round(float(grey) / 10) - 1 for grey in greys]


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fedsurg-data")]


def test_shapes(dataset: ClipDataset) -> None:
    batches = list(ClipLoader(dataset, Augmentation(AugmentationConfig(), SIZE), 4).batches(3, 0))
    assert len(batches) == 3
    for batch in batches:
        assert (batch.frames.shape, batch.frames.dtype) == ((4, 2, 3, 48, 64), torch.float32)
        assert (batch.labels.shape, batch.labels.dtype) == ((4, 48, 64), torch.int64)


def test_the_seed_alone_decides(dataset: ClipDataset) -> None:
    augment = Augmentation(AugmentationConfig(noise=0.1), SIZE)
    loader = ClipLoader(dataset, augment, 4)
    expected = list(loader.batches(6, 5))
    for again in (
        loader.batches(6, 5),
        ClipLoader(dataset, augment, 4, prefetch=5, workers=4).batches(6, 5),
        ClipLoader(dataset, augment, 4, prefetch=1).batches(6, 5),
    ):
        torch.rand(1)  # the global generator plays no part
        for one, other in zip(expected, again, strict=True):
            assert torch.equal(one.frames, other.frames)
            assert torch.equal(one.labels, other.labels)
    assert not torch.equal(expected[0].frames, next(loader.batches(6, 6)).frames)


def test_fewer_steps_are_the_beginning_of_more(dataset: ClipDataset) -> None:
    loader = ClipLoader(dataset, None, 4)
    assert rows_drawn(loader, 5, 1)[:8] == rows_drawn(loader, 2, 1)


def test_cases_are_equally_likely_and_frames_are_not_repeated_early(dataset: ClipDataset) -> None:
    """op1 has 7 frames (rows 0-6), op2 has 3 (rows 7-9)."""
    drawn = rows_drawn(ClipLoader(dataset, None, 2), 21, 3)
    counts = Counter(drawn)
    assert [counts[row] for row in range(10)] == [3] * 7 + [7] * 3
    op2 = [row for row in drawn if row >= 7]
    assert all(set(op2[start : start + 3]) == {7, 8, 9} for start in range(0, 21, 3))
    assert drawn != rows_drawn(ClipLoader(dataset, None, 2), 21, 4)


def test_in_order_covers_every_row_once(dataset: ClipDataset) -> None:
    found = list(ClipLoader(dataset, Augmentation(AugmentationConfig(), SIZE), 4).in_order())
    assert [indices for indices, _ in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    for indices, batch in found:
        for place, index in enumerate(indices):
            assert torch.equal(batch.frames[place], normalise(dataset[index].frames))


@pytest.mark.parametrize(
    ("at_most", "expected"),
    [(1, [5]), (2, [2, 7]), (5, [1, 3, 5, 7, 9]), (10, [*range(10)]), (99, [*range(10)])],
)
def test_in_order_evenly_spread(dataset: ClipDataset, at_most: int, expected: list[int]) -> None:
    found = ClipLoader(dataset, None, 3).in_order(at_most)
    assert list(itertools.chain.from_iterable(indices for indices, _ in found)) == expected


def test_an_error_in_the_background_reaches_the_consumer(site: SiteData, dataset: ClipDataset) -> None:
    (site.root / "images/op2_a_1.png").write_text("not an image")
    with pytest.raises(DataError, match=r"op2_a_1.png: not an image"):
        list(ClipLoader(dataset, None, 4).batches(10, 0))
    assert running() == []


def test_leaving_early_stops_the_thread(dataset: ClipDataset) -> None:
    batches = ClipLoader(dataset, None, 4).batches(1000, 0)
    next(batches)
    assert running()
    batches.close()
    assert running() == []


def test_waiting_is_counted(dataset: ClipDataset) -> None:
    loader = ClipLoader(dataset, None, 4)
    assert loader.waited_s == 0
    list(loader.batches(2, 0))
    first = loader.waited_s
    list(loader.in_order())
    assert 0 < first < loader.waited_s < 10


def test_pooled_sites_take_equal_parts(
    site: SiteData, dataset: ClipDataset, write_site: Callable[..., Path], task: TaskConfig
) -> None:
    stills = load_site(write_site([("x", "a", 0, "train"), ("y", "a", 0, "train")], name="south"), task)
    datasets = [
        dataset,
        ClipDataset(stills, stills.frames, SIZE, 1),
        ClipDataset(site, site.split("val"), SIZE, 1),
    ]
    loader = PooledLoader(datasets, None, 4)
    found = [(index, batch.frames.shape[1]) for index, batch in loader.batches(12, 0)]
    assert Counter(index for index, _ in found) == {0: 4, 1: 4, 2: 4}
    assert all(length == datasets[index].length for index, length in found)
    assert all({index for index, _ in found[turn : turn + 3]} == {0, 1, 2} for turn in range(0, 12, 3))
    assert loader.waited_s > 0
    again = loader.batches(12, 0)
    assert [index for index, _ in again] == [index for index, _ in found]
    assert running() == []

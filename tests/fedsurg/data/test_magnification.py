"""Magnification: how wide instruments are, and by how much a site enlarges its frames for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fedsurg.data.clips import ClipDataset
from fedsurg.data.labels import IGNORE
from fedsurg.data.magnification import instrument_width, magnification, magnified
from fedsurg.data.site import load_site
from fedsurg.study.config import TaskConfig

SIZE = (48, 64)


@pytest.fixture
def train(write_site: Callable[..., Path], task: TaskConfig) -> Callable[..., ClipDataset]:
    """The training frames of two cases, in each of which one bar as high as told crosses all frames; 0: none."""

    def make(op1: int, op2: int) -> ClipDataset:
        folder = write_site()
        for case, height in (("op1", op1), ("op2", op2)):
            for file in (folder / "masks").glob(f"{case}_*"):
                mask = Image.new("L", (64, 48))
                if height:
                    ImageDraw.Draw(mask).rectangle((0, 16, 63, 15 + height), fill=255)
                mask.save(file)
        site = load_site(folder, task)
        return ClipDataset(site, site.split("train"), SIZE, 0)

    return make


@pytest.mark.parametrize("width", [2, 4, 8, 20])
def test_the_width_of_a_bar(width: int) -> None:
    """Pixels of half a bar of 8 are 0.5, 1.5, 2.5 and 3.5 from its edge: 2 in the mean, a quarter of 8."""
    upright, lying = np.zeros((100, 80), np.uint8), np.zeros((100, 80), np.uint8)
    upright[:, 30 : 30 + width] = 2
    lying[40 : 40 + width] = 1
    assert instrument_width(upright) == pytest.approx(width / 100)
    assert instrument_width(lying) == pytest.approx(width / 100)


def test_nothing_and_everything() -> None:
    assert instrument_width(np.zeros((10, 10), np.uint8)) == 0
    assert instrument_width(np.ones((10, 10), np.uint8)) == 1


def test_what_is_not_labelled_is_neither_instrument_nor_edge() -> None:
    """Seams and highlights without a label do not make a bar narrow; beside it they are no instrument."""
    label = np.zeros((100, 80), np.uint8)
    label[40:60] = 1
    label[40:60:4, ::4] = IGNORE
    assert instrument_width(label) == pytest.approx(0.2, rel=0.05)
    label[:] = IGNORE
    assert instrument_width(label) == 0


def test_large_labels_are_reduced_before(write_site: Callable[..., Path], task: TaskConfig) -> None:
    """The same bars, a tenth of the height, in labels of 1,200 rows."""
    folder = write_site()
    for image in (folder / "images").iterdir():
        Image.new("RGB", (1600, 1200)).save(image)
    for file in (folder / "masks").iterdir():
        mask = Image.new("L", (1600, 1200))
        ImageDraw.Draw(mask).rectangle((0, 400, 1599, 519), fill=255)
        mask.save(file)
    site = load_site(folder, task)
    frames = ClipDataset(site, site.split("train"), SIZE, 0)
    assert [magnification(frames, wanted, 2.0) for wanted in (0.1, 0.125, 0.15)] == [1, 1.25, 1.5]


def test_instruments_come_to_the_apparent_width(train: Callable[..., ClipDataset]) -> None:
    """Bars of 6 and 12 of 48 rows: the narrower ones are an eighth of the height."""
    frames = train(6, 12)
    found = [magnification(frames, wanted, 2.0) for wanted in (0, 0.05, 0.125, 0.16, 0.1875, 0.2, 0.9)]
    assert found == [1, 1, 1, 1.25, 1.5, 1.5, 2]
    assert magnification(frames, 0.9, 1.0) == 1


def test_a_case_without_instruments_does_not_count(train: Callable[..., ClipDataset]) -> None:
    assert magnification(train(0, 6), 0.1875, 2.0) == 1.5


def test_a_site_without_instruments_stays_as_it_is(train: Callable[..., ClipDataset]) -> None:
    assert magnification(train(0, 0), 0.9, 2.0) == 1


def test_magnified_sizes() -> None:
    assert magnified((96, 130), 1.25) == (120, 162)
    assert magnified((96, 130), 1.0) == (96, 130)

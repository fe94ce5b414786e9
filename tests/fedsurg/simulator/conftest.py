"""Pictures to take in: a tissue that no renderer drew, and instruments on a transparent ground."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def photograph(seed: int = 0, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """A greenish picture (h, w, 3), which rendered tissue never is, with blobs to see motion by."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (*(side // 8 for side in shape), 3), dtype=np.uint8)
    coarse[..., 1] = np.maximum(coarse[..., 1], 160)
    picture = Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC)
    return np.array(picture)


def cutout(side: str = "left", shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    """A blue bar (h, w, 4) from the middle of one side to the middle of the picture."""
    pixels = np.zeros((*shape, 4), np.uint8)
    pixels[..., 2] = 200
    middle, half = shape[0] // 2, shape[1] // 2
    places = {
        "left": np.s_[middle - 5 : middle + 5, :half],
        "right": np.s_[middle - 5 : middle + 5, half:],
        "top": np.s_[:middle, half - 5 : half + 5],
        "bottom": np.s_[middle:, half - 5 : half + 5],
        "nowhere": np.s_[10:30, 20:30],
        "both": np.s_[middle - 5 : middle + 5],
        "everywhere": np.s_[:],
        "none": np.s_[:0],
    }
    pixels[places[side]][..., 3] = 255
    return pixels


@pytest.fixture
def backgrounds(tmp_path: Path) -> Path:
    """A folder with one photograph."""
    folder = tmp_path / "backgrounds"
    folder.mkdir()
    Image.fromarray(photograph()).save(folder / "one.jpg")
    return folder


@pytest.fixture
def instruments(tmp_path: Path) -> Path:
    """A folder with a cut-out of no type and a hook; neither has part masks."""
    folder = tmp_path / "instruments"
    (folder / "hook").mkdir(parents=True)
    Image.fromarray(cutout("left")).save(folder / "a.png")
    Image.fromarray(cutout("bottom")).save(folder / "hook" / "b.png")
    return folder


@pytest.fixture
def draw() -> Callable[..., np.ndarray]:
    """Draws a cut-out: side and shape as for `cutout`."""
    return cutout

"""Tiny site folders: 48 x 64 pictures whose grey value tells which frame they are."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from fedsurg.data.site import SiteData, load_site
from fedsurg.study.config import TaskConfig

Row = tuple[str, str, int, str]  # case, clip, frame, split

SITE = """name = "north"
procedure = "laparoscopic cholecystectomy"
frame_rate_hz = 25

[mask_values]
background = 0
instrument = 255
"""
ROWS: tuple[Row, ...] = (
    *(("op1", "a", frame, "train") for frame in range(5)),
    *(("op1", "b", frame, "train") for frame in range(2)),
    *(("op2", "a", frame, "train") for frame in range(3)),
    *(("op3", "a", frame, "val") for frame in range(2)),
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads of torch stall on busy machines, and tiny pictures gain nothing from them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def task() -> TaskConfig:
    return TaskConfig(classes=("background", "instrument"), image_size=(48, 64))


@pytest.fixture
def write_site(tmp_path: Path) -> Callable[..., Path]:
    """Make a site folder; row i has pictures of grey value 10 * (i + 1) and an 8 x 8 instrument."""

    def write(rows: Sequence[Row] = ROWS, *, name: str = "north", site: str = SITE) -> Path:
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        lines = ["image,mask,case,clip,frame,split"]
        for number, (case, clip, frame, split) in enumerate(rows):
            stem = f"{case}_{clip}_{frame}"
            Image.new("RGB", (64, 48), (10 * (number + 1),) * 3).save(folder / f"images/{stem}.png")
            mask = Image.new("L", (64, 48))
            ImageDraw.Draw(mask).rectangle((8, 16, 15, 23), fill=255)
            mask.save(folder / f"masks/{stem}.png")
            lines.append(f"images/{stem}.png,masks/{stem}.png,{case},{clip},{frame},{split}")
        (folder / "site.toml").write_text(site)
        (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
        return folder

    return write


@pytest.fixture
def folder(write_site: Callable[..., Path]) -> Path:
    return write_site()


@pytest.fixture
def site(folder: Path, task: TaskConfig) -> SiteData:
    return load_site(folder, task)


@pytest.fixture
def edit() -> Callable[[Path, str, str], None]:
    """Replace the one occurrence of a text in a file."""

    def replace(path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))

    return replace

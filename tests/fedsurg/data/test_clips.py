"""Clips: which frames they hold, decoding, and what is said of damaged files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from fedsurg.data.clips import ClipDataset
from fedsurg.data.labels import IGNORE
from fedsurg.data.site import SiteData, load_site
from fedsurg.errors import DataError
from fedsurg.study.config import TaskConfig

SIZE = (48, 64)


def greys(dataset: ClipDataset, index: int) -> list[int]:
    """Which frames a clip holds: row i of the manifest is grey 10 * (i + 1)."""
    return [int(value) for value in dataset[index].frames[:, 0, 0, 0]]


def test_shapes_and_values(site: SiteData) -> None:
    clip = ClipDataset(site, site.split("train"), SIZE, 3)[4]
    assert (clip.frames.shape, clip.frames.dtype) == ((4, 3, 48, 64), torch.uint8)
    assert (clip.label.shape, clip.label.dtype) == ((48, 64), torch.int64)
    assert int(clip.label.sum()) == 64  # the 8 x 8 instrument
    assert clip.label[16, 8] == 1


def test_history_is_the_frames_before_and_the_oldest_is_repeated(site: SiteData) -> None:
    dataset = ClipDataset(site, site.split("train"), SIZE, 3)
    found = {dataset.row(index): greys(dataset, index) for index in range(len(dataset))}
    assert found == {
        ("op1", "a", 0): [10, 10, 10, 10],
        ("op1", "a", 1): [10, 10, 10, 20],
        ("op1", "a", 2): [10, 10, 20, 30],
        ("op1", "a", 3): [10, 20, 30, 40],
        ("op1", "a", 4): [20, 30, 40, 50],
        ("op1", "b", 0): [60, 60, 60, 60],
        ("op1", "b", 1): [60, 60, 60, 70],
        # A clip of the same name in another case is another clip.
        ("op2", "a", 0): [80, 80, 80, 80],
        ("op2", "a", 1): [80, 80, 80, 90],
        ("op2", "a", 2): [80, 80, 90, 100],
    }


def test_history_reaches_beyond_the_rows_served(site: SiteData) -> None:
    rows = site.split("train")
    dataset = ClipDataset(site, rows[rows["frame"] == 2], SIZE, 1)
    assert [greys(dataset, index) for index in range(len(dataset))] == [[20, 30], [90, 100]]


def test_single_frames_have_no_history(write_site: Callable[..., Path], task: TaskConfig) -> None:
    site = load_site(write_site([("op1", "a", 0, "train"), ("op1", "b", 0, "train")]), task)
    dataset = ClipDataset(site, site.frames, SIZE, 3)
    assert dataset.length == 1
    assert greys(dataset, 1) == [20]


def test_resizing_keeps_labels_whole_and_full_size_is_the_files(site: SiteData) -> None:
    dataset = ClipDataset(site, site.frames, (96, 32), 0)
    assert dataset[0].frames.shape == (1, 3, 96, 32)
    label = dataset[0].label
    assert label.unique().tolist() == [0, 1]
    # The mask's rectangle, x 8-15 and y 16-23 of 64 x 48, at half the width and twice the height.
    assert label.nonzero().aminmax(dim=0).min.tolist() == [32, 4]
    assert label.nonzero().aminmax(dim=0).max.tolist() == [47, 7]
    assert dataset.label_at_full_size(0).shape == (48, 64)
    assert int(dataset.label_at_full_size(0).sum()) == 64


def test_ignored_values(folder: Path, task: TaskConfig, edit: Callable[[Path, str, str], None]) -> None:
    edit(folder / "site.toml", "frame_rate_hz = 25", "ignore_values = [7]")
    mask = Image.new("L", (64, 48), 7)
    mask.paste(255, (0, 0, 32, 48))
    mask.save(folder / "masks/op1_a_0.png")
    site = load_site(folder, task)
    assert ClipDataset(site, site.frames, SIZE, 0)[0].label.unique().tolist() == [1, IGNORE]


@pytest.mark.parametrize("mode", ["1", "P"])
def test_one_bit_and_palette_masks(
    folder: Path, task: TaskConfig, edit: Callable[[Path, str, str], None], mode: str
) -> None:
    """Their values are indices: a 1-bit mask holds 0 and 1."""
    edit(folder / "site.toml", "instrument = 255", "instrument = [1, 255]")
    mask = Image.new(mode, (64, 48), 1)
    if mode == "P":
        mask.putpalette([0, 0, 0, 200, 10, 10])
    mask.save(folder / "masks/op1_a_0.png")
    site = load_site(folder, task)
    assert ClipDataset(site, site.frames, SIZE, 0)[0].label.unique().tolist() == [1]


def test_files_are_decoded_once_within_the_cache(site: SiteData) -> None:
    cached = ClipDataset(site, site.split("val"), SIZE, 1)
    frame_bytes = 3 * 48 * 64
    one_frame = ClipDataset(site, site.split("val"), SIZE, 1, cache_bytes=frame_bytes)
    before = cached[0], one_frame[0]
    for path in (*site.root.glob("images/op3_a_0.png"), *site.root.glob("masks/op3_a_0.png")):
        path.unlink()
    assert torch.equal(cached[0].frames, before[0].frames)
    assert torch.equal(cached[0].label, before[0].label)
    with pytest.raises(DataError, match=r"masks/op3_a_0.png: no such file|images/op3_a_0.png: no such file"):
        one_frame[0]


def test_a_returned_clip_is_the_callers_own(site: SiteData) -> None:
    dataset = ClipDataset(site, site.frames, SIZE, 0)
    clip = dataset[0]
    clip.frames.zero_()
    clip.label.fill_(9)
    assert greys(dataset, 0) == [10]
    assert dataset[0].label.max() == 1


def test_empty_rows(site: SiteData) -> None:
    with pytest.raises(DataError, match="site 'north': no frames to serve, the split is empty"):
        ClipDataset(site, site.split("test"), SIZE, 0)


def cut_image(folder: Path) -> None:
    path = folder / "images/op1_a_0.png"
    noise = torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def cut_jpeg(folder: Path) -> None:
    path = folder / "images/op1_a_0.png"
    noise = torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-500])


def text_image(folder: Path) -> None:
    (folder / "images/op1_a_0.png").write_text("not an image")


def empty_mask(folder: Path) -> None:
    (folder / "masks/op1_a_0.png").write_bytes(b"")


def small_mask(folder: Path) -> None:
    Image.new("L", (32, 48)).save(folder / "masks/op1_a_0.png")


def colour_mask(folder: Path) -> None:
    Image.new("RGB", (64, 48)).save(folder / "masks/op1_a_0.png")


def strange_mask(folder: Path) -> None:
    mask = Image.new("L", (64, 48))
    mask.paste(128, (0, 0, 32, 12))
    mask.save(folder / "masks/op1_a_0.png")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_image, "images/op1_a_0.png: cannot be decoded (image file is truncated"),
        (cut_jpeg, "images/op1_a_0.png: cannot be decoded (image file is truncated"),
        (text_image, "images/op1_a_0.png: not an image; replace it or remove its line from the manifest"),
        (empty_mask, "masks/op1_a_0.png: not an image; replace it"),
        (
            small_mask,
            "masks/op1_a_0.png: the mask is 32 x 48, its image op1_a_0.png is 64 x 48 (width",
        ),
        (colour_mask, "masks/op1_a_0.png: the mask has mode RGB; export it as 8-bit single-channel"),
        (
            strange_mask,
            "masks/op1_a_0.png: mask value 128 is not mapped (12.5 % of the pixels); found [0, 128], mapped "
            "are [0, 255]. Add it to mask_values or to ignore_values",
        ),
    ],
)
def test_damaged_file(site: SiteData, damage: Callable[[Path], None], message: str) -> None:
    damage(site.root)
    with pytest.raises(DataError) as error:
        ClipDataset(site, site.frames, SIZE, 0)[0]
    assert str(error.value).startswith(f"{site.root}/{message}")
    assert "\n" not in str(error.value)

"""Folders of pictures: what is in them, and what is refused."""

import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedsurg.errors import SimulatorError
from fedsurg.simulator import pictures
from fedsurg.simulator.assets import RENDERED, CutOut, Picture, check_pictures, read_assets
from fedsurg.simulator.pictures import load_background, load_cutout

Draw = Callable[..., np.ndarray]


def save(pixels: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def check(backgrounds: Path | None, instruments: Path | None, *, whole: bool = True) -> None:
    check_pictures(read_assets(backgrounds, instruments), whole_instruments=whole)


def test_pictures_are_listed_with_their_types(backgrounds: Path, instruments: Path) -> None:
    (instruments / "notes.txt").write_text("mine")
    (instruments / ".hidden.png").write_text("mine")
    assets = read_assets(backgrounds, instruments)
    assert [picture.name for picture in assets.backgrounds] == ["one.jpg"]
    assert [(cutout.picture.name, cutout.kind) for cutout in assets.cutouts] == [
        ("a.png", "instrument"),
        ("hook/b.png", "hook"),
    ]
    assert assets and not RENDERED and not read_assets()
    check(backgrounds, instruments)


def test_the_digest_is_of_content_not_of_place(backgrounds: Path, instruments: Path, tmp_path: Path) -> None:
    before = read_assets(backgrounds, instruments)
    for folder in (backgrounds, instruments):
        shutil.copytree(folder, tmp_path / "else" / folder.name)
    again = read_assets(tmp_path / "else/backgrounds", tmp_path / "else/instruments")
    assert again.digests() == before.digests()
    (tmp_path / "else/instruments/a.png").rename(tmp_path / "else/instruments/c.png")
    renamed = read_assets(None, tmp_path / "else/instruments").digests()
    assert renamed["instruments"] != before.digests()["instruments"] and renamed["backgrounds"] == ""
    (backgrounds / "one.jpg").write_bytes((backgrounds / "one.jpg").read_bytes() + b"x")
    changed = read_assets(backgrounds, instruments).digests()
    assert changed["backgrounds"] != before.digests()["backgrounds"]
    assert changed["instruments"] == before.digests()["instruments"]


def test_sides_that_cut_an_instrument_off(tmp_path: Path, draw: Draw) -> None:
    for side in ("left", "right", "top", "bottom"):
        save(draw(side), tmp_path / "cut" / f"{side}.png")
    for cutout in read_assets(None, tmp_path / "cut").cutouts:
        opened = load_cutout(cutout)
        assert opened.cut_sides == (cutout.picture.name.removesuffix(".png"),)
        assert opened.opacity.shape[0] < 40 and (opened.opacity > 0.5).sum() >= 200  # without the empty rest
    save(draw("nowhere"), tmp_path / "free" / "needle.png")
    assert load_cutout(read_assets(None, tmp_path / "free").cutouts[0]).cut_sides == ()


def test_large_cutouts_are_shrunk_to_what_a_frame_can_show(
    tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(draw("left"), tmp_path / "a.png")
    (cutout,) = read_assets(None, tmp_path).cutouts
    large = load_cutout(cutout)
    monkeypatch.setattr(pictures, "LARGEST_CUTOUT", 16)
    small = load_cutout(cutout)
    assert large.opacity.shape == (14, 32) and small.opacity.shape == small.parts.shape == (7, 16)
    assert small.cut_sides == ("left",) and (small.opacity[2:5, 0] > 0.9).all()


def test_what_is_lost_when_it_is_shrunk_is_refused(tmp_path: Path) -> None:
    side = pictures.LARGEST_CUTOUT * 3
    line = np.zeros((side, side, 4), np.uint8)
    line[np.arange(side), np.arange(side)] = 255
    path = save(line, tmp_path / "tools" / "a.png")
    with pytest.raises(SimulatorError, match=r"is 3600x3600 pixels, .* too thin .* shrunk to 1200; fill") as problem:
        check(None, tmp_path / "tools")
    assert str(problem.value).startswith(f"{path}: ")


def test_part_masks_fill_the_instrument(tmp_path: Path, draw: Draw) -> None:
    folder = tmp_path / "tools"
    save(draw("left"), folder / "a.png")
    parts = np.zeros((40, 60), np.uint8)
    parts[:, :10], parts[:, 20:40] = 1, 3
    save(parts, folder / "a.parts.png")
    check(None, folder, whole=False)
    (cutout,) = read_assets(None, folder).cutouts
    opened = load_cutout(cutout)
    row = opened.parts[opened.opacity.shape[0] // 2]
    assert row[:30].tolist() == [1] * 15 + [3] * 15  # what nobody marked has its neighbour's value


@pytest.mark.parametrize(
    ("side", "message"),
    [
        ("everywhere", "is opaque everywhere; make it transparent around the instrument"),
        ("none", "is transparent everywhere"),
        ("both", "touches the picture's left and right; leave a transparent margin"),
    ],
)
def test_cutouts_that_cannot_be_used(side: str, message: str, tmp_path: Path, draw: Draw) -> None:
    path = save(draw(side), tmp_path / "tools" / "a.png")
    with pytest.raises(SimulatorError) as problem:
        check(None, tmp_path / "tools")
    assert str(problem.value).startswith(f"{path}: ") and message in str(problem.value)


def test_a_cutout_without_alpha_is_refused(tmp_path: Path, draw: Draw) -> None:
    save(draw("left")[..., :3], tmp_path / "tools" / "a.png")
    with pytest.raises(SimulatorError, match=r"a.png: has no alpha channel; save the cut-out as RGBA"):
        check(None, tmp_path / "tools")


def test_parts_have_to_be_marked_or_not_asked_for(instruments: Path) -> None:
    with pytest.raises(SimulatorError, match=r"a.png: its parts are not known; ask for whole .* in a.parts.png beside"):
        check(None, instruments, whole=False)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((10, 60), np.uint8), "is 10x60 pixels, its cut-out 40x60"),
        (np.full((40, 60), 7, np.uint8), r"holds the values \[7\] on the instrument; expected 1"),
        (np.zeros((40, 60), np.uint8), r"holds the values \[0\] on the instrument"),
        (np.ones((40, 60, 3), np.uint8), "has mode RGB; save the parts as 8-bit"),
    ],
)
def test_part_masks_that_do_not_fit(mask: np.ndarray, message: str, tmp_path: Path, draw: Draw) -> None:
    save(draw("left"), tmp_path / "tools" / "a.png")
    save(mask, tmp_path / "tools" / "a.parts.png")
    with pytest.raises(SimulatorError, match="a.parts.png: " + message):
        check(None, tmp_path / "tools", whole=False)


def test_a_part_mask_without_its_cutout_is_refused(instruments: Path) -> None:
    save(np.ones((40, 60), np.uint8), instruments / "z.parts.png")
    with pytest.raises(SimulatorError, match=r"z.parts.png: marks the parts of no cut-out; put z.png beside"):
        read_assets(None, instruments)


def test_folders_that_are_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match=r"gone: no such folder; give the folder that holds the background"):
        read_assets(tmp_path / "gone", None)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SimulatorError, match=r"holds no cut-out picture; put one or more .png files there"):
        read_assets(None, tmp_path)


def test_unreadable_pictures_are_named(backgrounds: Path, instruments: Path) -> None:
    good = (backgrounds / "one.jpg").read_bytes()
    (backgrounds / "two.jpg").write_bytes(good[: len(good) // 2])
    with pytest.raises(SimulatorError, match=r"two.jpg: cannot be read \(.*[Tt]runcated.*\); replace or remove it"):
        check(backgrounds, None)
    (backgrounds / "two.jpg").write_text("no picture")
    with pytest.raises(SimulatorError, match=r"two.jpg: is no picture; replace or remove it"):
        check(backgrounds, None)
    palette = io.BytesIO()
    Image.new("P", (40, 80)).save(palette, "PNG")
    without, start = palette.getvalue(), palette.getvalue().index(b"PLTE") - 4
    (backgrounds / "three.png").write_bytes(
        without[:start] + without[start + 12 + int.from_bytes(without[start : start + 4]) :]
    )
    (backgrounds / "two.jpg").unlink()
    with pytest.raises(SimulatorError, match=r"three.png: cannot be read \(.+\); replace or remove it"):
        check(backgrounds, None)
    (backgrounds / "three.png").unlink()
    save(np.zeros((40, 80, 3), np.uint8), backgrounds / "two.jpg")
    with pytest.raises(SimulatorError, match=r"two.jpg: is black; a background shows tissue, replace or remove it"):
        check(backgrounds, None)
    (backgrounds / "two.jpg").unlink()
    cutout = next(path for path in instruments.rglob("*.png") if not path.name.endswith(".parts.png"))
    copied = Path(shutil.copy(cutout, backgrounds / "cut.png"))
    with pytest.raises(SimulatorError, match=r"cut.png: has transparent parts, .* give its folder as --instruments"):
        check(backgrounds, None)
    copied.unlink()
    save(np.zeros((8, 80, 3), np.uint8), backgrounds / "two.jpg")
    with pytest.raises(SimulatorError, match=r"two.jpg: is 8x80 pixels; the sides of a background must have at least"):
        check(backgrounds, None)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_grey_of_more_than_8_bits_is_refused(tmp_path: Path, mode: str) -> None:
    """Converted, it would be a white picture."""
    path = tmp_path / ("deep.png" if mode == "I;16" else "deep.tif")
    Image.fromarray(np.full((20, 20), 9000, np.uint16)).convert(mode).save(path)
    picture = Picture(path.name, path, hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(SimulatorError) as problem:
        load_background(picture)
    assert str(problem.value) == f"{path}: has mode {mode}, grey of more than 8 bits; save it as 8-bit RGB"
    with pytest.raises(SimulatorError, match="save it as 8-bit RGBA"):
        load_cutout(CutOut(picture, None))


def test_a_picture_that_changes_under_way_is_noticed(backgrounds: Path) -> None:
    (picture,) = read_assets(backgrounds).backgrounds
    picture.path.write_bytes(picture.path.read_bytes() + b"x")
    with pytest.raises(SimulatorError, match=r"one.jpg: has changed since the rendering began"):
        load_background(picture)
    picture.path.unlink()
    with pytest.raises(SimulatorError, match=r"one.jpg: cannot be read"):
        load_background(picture)

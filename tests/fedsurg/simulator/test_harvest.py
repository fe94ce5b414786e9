"""Cutting pictures for compositing out of labelled frames: what is kept, what is passed over, what is never read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedsurg.errors import SimulatorError
from fedsurg.simulator import harvest as harvesting
from fedsurg.simulator.assets import check_pictures, read_assets
from fedsurg.simulator.harvest import harvest, largest_rectangle
from fedsurg.simulator.pictures import load_cutout

Fedsurg = Callable[..., tuple[int, str, str]]
SITE = 'name = "ward"\nprocedure = "laparoscopy"\nframe_rate_hz = 0\n\n[mask_values]\nbackground = 0\n'
WHOLE, IN_PARTS = SITE + "instrument = 255\n", SITE + "shaft = 1\nwrist = 2\nclasper = 3\n"


@pytest.fixture
def ward(tmp_path: Path) -> Callable[..., Path]:
    """A site folder; each frame (96 x 128, black for 8 pixels at every side) has one grey instrument per given box."""

    def make(
        site: str,
        *frames: tuple[str, str, list[tuple[int, int, int, int]]],
        value: int = 255,
        folder_name: str = "ward",
        round_view: bool = False,
    ) -> Path:
        folder = tmp_path / folder_name
        folder.mkdir()
        (folder / "site.toml").write_text(site)
        rows = ["image,mask,case,clip,frame,split"]
        for number, (case, split, boxes) in enumerate(frames):
            picture, mask = np.zeros((96, 128, 3), np.uint8), np.zeros((96, 128), np.uint8)
            picture[8:-8, 8:-8] = (180, 90, 80)
            for top, bottom, left, right in boxes:
                picture[top:bottom, left:right], mask[top:bottom, left:right] = 128, value
            if round_view:
                y, x = np.mgrid[:96, :128]
                picture[np.hypot(y - 48, x - 64) > 44] = 0
            Image.fromarray(picture).save(folder / f"{number}.png")
            Image.fromarray(mask).save(folder / f"m{number}.png")
            rows.append(f"{number}.png,m{number}.png,{case},c,{number},{split}")
        (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
        return folder

    return make


FROM_THE_LEFT = (40, 50, 8, 60)  # its shaft is cut off by the edge of the view
OTHERS = [("PATIENT-9", "train", []), ("PATIENT-8", "val", [(20, 70, 30, 90)])]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["111", "111"], (0, 2, 0, 3)),
        (["101", "111", "111"], (1, 3, 0, 3)),
        (["0110", "0110", "1111"], (0, 3, 1, 3)),
        (["010", "000"], (0, 1, 1, 2)),
        (["00", "00"], None),
    ],
)
def test_the_largest_rectangle_by_hand(rows: list[str], expected: tuple[int, int, int, int] | None) -> None:
    box = largest_rectangle(np.array([[character == "1" for character in row] for row in rows]))
    assert (box and (box[0].start, box[0].stop, box[1].start, box[1].stop)) == expected


def test_the_largest_rectangle_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        free = rng.random((7, 9)) < 0.7
        box = largest_rectangle(free)
        assert box
        assert free[box].all()
        areas = [
            (bottom - top) * (right - left)
            for top in range(7)
            for bottom in range(top + 1, 8)
            for left in range(9)
            for right in range(left + 1, 10)
            if free[top:bottom, left:right].all()
        ]
        assert free[box].size == max(areas)


def test_instruments_and_tissue_of_training_frames(ward: Callable[..., Path], tmp_path: Path, fedsurg: Fedsurg) -> None:
    folder = ward(WHOLE, ("PATIENT-7", "train", [FROM_THE_LEFT, (70, 72, 100, 102)]), *OTHERS)
    code, out, err = fedsurg("simulator", "cutouts", folder, "--out", tmp_path / "cut")
    assert (code, err) == (0, "")
    assert f"{tmp_path / 'cut' / 'instruments'}: 1 cut-outs; 0 were of no use" in out  # a speck is none
    assert {path.name for path in (tmp_path / "cut").rglob("*.png")} == {
        "site0-0000-0.png",
        "site0-0000.png",
        "site0-0001.png",
    }
    with Image.open(tmp_path / "cut" / "instruments" / "site0-0000-0.png") as image:
        pixels = np.array(image)
    assert pixels.shape == (10 + 2 * 3, 52 + 3, 4)  # a margin at three sides, none where the view cuts it off
    assert (pixels[3:-3, 0, 3] == 255).all()
    assert (pixels[pixels[..., 3] > 0][:, :3] == 128).all()
    with Image.open(tmp_path / "cut" / "backgrounds" / "site0-0000.png") as image:
        assert (np.array(image) == (180, 90, 80)).all()  # no black border, nothing grey
    with Image.open(tmp_path / "cut" / "backgrounds" / "site0-0001.png") as image:
        assert image.size == (112, 80)  # a frame without an instrument is tissue as a whole
    check_pictures(
        read_assets(tmp_path / "cut" / "backgrounds", tmp_path / "cut" / "instruments"), whole_instruments=True
    )


def test_parts_are_kept_where_a_site_labels_them(ward: Callable[..., Path], tmp_path: Path) -> None:
    folder = ward(IN_PARTS, ("PATIENT-7", "train", [FROM_THE_LEFT]), *OTHERS[:1], value=3)
    harvest((folder,), tmp_path / "cut", 9)
    assets = read_assets(None, tmp_path / "cut" / "instruments")
    check_pictures(assets, whole_instruments=False)
    parts = assets.cutouts[0].parts
    assert parts
    with Image.open(parts.path) as image:
        assert set(np.unique(np.array(image))) == {0, 3}


@pytest.mark.parametrize("short", [0, 1, 2])
def test_a_mask_that_ends_before_the_frame_does_is_cut_off_there(
    ward: Callable[..., Path], tmp_path: Path, short: int
) -> None:
    folder = ward(WHOLE, ("PATIENT-7", "train", [(40, 50, 8 + short, 60)]), *OTHERS)
    assert harvest((folder,), tmp_path / "cut", 9).instruments == 1
    (cutout,) = read_assets(None, tmp_path / "cut" / "instruments").cutouts
    assert load_cutout(cutout).cut_sides == ("left",)


def test_a_round_view_gives_no_black_corners_and_nothing_that_it_cuts_off(
    ward: Callable[..., Path], tmp_path: Path
) -> None:
    free, cut = (40, 50, 50, 70), (26, 34, 28, 60)  # the second one reaches into the black
    folder = ward(WHOLE, ("P", "train", [free]), ("Q", "train", [cut]), OTHERS[1], round_view=True)
    found = harvest((folder,), tmp_path / "cut", 9)
    assert (found.instruments, found.passed_over, found.backgrounds) == (1, 1, 2)
    for path in (tmp_path / "cut" / "backgrounds").iterdir():
        with Image.open(path) as image:
            assert (np.array(image) == (180, 90, 80)).all()


def test_sites_of_one_name_that_is_a_path(ward: Callable[..., Path], tmp_path: Path, fedsurg: Fedsurg) -> None:
    """Files are numbered by the order of the folders; a folder that is given twice counts once."""
    site, frame = WHOLE.replace('"ward"', '"../../ward"'), ("PATIENT-7", "train", [FROM_THE_LEFT])
    one, two = (ward(site, frame, OTHERS[1], folder_name=name) for name in ("one", "two"))
    before = set(tmp_path.rglob("*"))
    code, out, _ = fedsurg("simulator", "cutouts", one, two, one, "--out", tmp_path / "cut")
    assert (code, "2 cut-outs" in out) == (0, True)
    assert {path.name for path in (tmp_path / "cut" / "instruments").iterdir()} == {
        "site0-0000-0.png",
        "site1-0000-0.png",
    }
    assert all(path.is_relative_to(tmp_path / "cut") for path in set(tmp_path.rglob("*")) - before)
    assert (tmp_path / "cut").stat().st_mode & 0o077 == 0


def test_a_site_may_call_its_instruments_what_it_likes(ward: Callable[..., Path], tmp_path: Path) -> None:
    folder = ward(SITE + "forceps = 255\n", ("PATIENT-7", "train", [FROM_THE_LEFT]), *OTHERS)
    assert harvest((folder,), tmp_path / "cut", 9).instruments == 1
    (cutout,) = read_assets(None, tmp_path / "cut" / "instruments").cutouts
    assert cutout.parts is None


def test_what_no_frame_shows_whole_is_passed_over(ward: Callable[..., Path], tmp_path: Path) -> None:
    across = ("PATIENT-7", "train", [(40, 50, 8, 120)])
    found = harvest((ward(WHOLE, across, *OTHERS),), tmp_path / "cut", 9)
    assert (found.instruments, found.passed_over, found.backgrounds) == (0, 1, 2)
    assert not list((tmp_path / "cut" / "instruments").iterdir())


def test_bad_input_is_one_line_and_leaves_nothing(ward: Callable[..., Path], tmp_path: Path, fedsurg: Fedsurg) -> None:
    folder = ward(WHOLE, ("PATIENT-7", "train", [FROM_THE_LEFT]), *OTHERS)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("")
    (folder / "m1.png").write_bytes(b"no picture")
    for words, code, message in (
        ((folder, "--out", taken), 1, f"{taken}: is not empty; choose another folder"),
        ((tmp_path / "none", "--out", tmp_path / "cut"), 3, "none"),
        ((folder, "--out", tmp_path / "cut"), 3, "m1.png"),
        ((folder, "--out", folder / "site.toml" / "cut"), 1, "cannot be written"),
        ((folder, "--out", "/"), 1, "/: is mounted there, and nothing can take its place; give the name of a folder"),
    ):
        found, _, err = fedsurg("simulator", "cutouts", *words)
        assert (found, len(err.splitlines())) == (code, 1)
        assert message in err
    assert not (tmp_path / "cut").exists()
    assert not list(tmp_path.glob(".*.partial"))


def test_two_runs_into_one_folder_never_mix(
    ward: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second to finish is refused, and leaves nothing."""
    first = ward(WHOLE, ("P", "train", [FROM_THE_LEFT]), *OTHERS, folder_name="first")
    second = ward(WHOLE, ("Q", "train", [(30, 60, 50, 70)]), OTHERS[1], folder_name="second")
    harvest((first,), tmp_path / "alone", 9)
    write = harvesting._write

    def slow(*arguments: Any) -> Any:
        found = write(*arguments)
        monkeypatch.setattr(harvesting, "_write", write)
        harvest((first,), tmp_path / "cut", 9)
        return found

    monkeypatch.setattr(harvesting, "_write", slow)
    with pytest.raises(SimulatorError, match="cut: is not empty; choose another folder"):
        harvest((second,), tmp_path / "cut", 9)
    alone, cut = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}
        for folder in (tmp_path / "alone", tmp_path / "cut")
    )
    assert cut == alone
    assert not list(tmp_path.glob(".*"))


def test_the_working_directory_is_not_replaced(
    ward: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ward(WHOLE, ("P", "train", [FROM_THE_LEFT]), *OTHERS)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(SimulatorError, match=r"here: is the working directory.*give the name of a folder in it"):
        harvest((folder,), Path(), 9)
    assert not list((tmp_path / "here").iterdir())

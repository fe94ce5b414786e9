"""Loading a site folder: a good one, then one thing wrong at a time."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fedsurg.data.labels import LabelSpace
from fedsurg.data.site import load_site
from fedsurg.errors import DataError
from fedsurg.study.config import TaskConfig

Edit = Callable[[Path, str, str], None]


def test_good_site(folder: Path, task: TaskConfig) -> None:
    site = load_site(folder, task)
    assert (site.name, site.frame_rate_hz, site.simulated) == ("north", 25.0, False)
    assert site.labels == LabelSpace(("background", "instrument"), ((0,), (1,)), (), 2)
    assert site.cases() == ("op1", "op2", "op3")
    assert site.cases("val") == ("op3",)
    assert len(site.split("train")) == 10
    assert len(site.split("test")) == 0


def test_rows_are_sorted_by_frame_number_not_by_text(write_site: Callable[..., Path], task: TaskConfig) -> None:
    rows = [("op1", "a", frame, "train") for frame in reversed(range(12))]
    assert load_site(write_site(rows), task).frames["frame"].tolist() == list(range(12))


def test_case_names_stay_text(write_site: Callable[..., Path], task: TaskConfig) -> None:
    rows = [("001", "NA", 0, "train"), ("1", "null", 0, "val")]
    assert load_site(write_site(rows), task).cases() == ("001", "1")


def test_parquet_gives_the_same_table(folder: Path, task: TaskConfig) -> None:
    expected = load_site(folder, task).frames
    rows = pd.read_csv(folder / "manifest.csv").assign(phase="dissection")
    rows.to_parquet(folder / "manifest.parquet")
    (folder / "manifest.csv").unlink()
    found = load_site(folder, task).frames
    assert set(found["phase"]) == {"dissection"}
    pd.testing.assert_frame_equal(found.drop(columns="phase"), expected)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "op2,a,1,train",
            "op2,a,1,val",
            "case 'op2' is in two splits, train (line 9) and val (line 10); put all",
        ),
        (
            "op1,a,2,train",
            "op1,a,7,train",
            "line 5: clip 'a' of case 'op1' jumps from frame 1 to 3; number its",
        ),
        ("op1,a,2,train", "op1,a,3,train", "lines 4 and 5 are the same case op1, clip a, frame 3"),
        ("op1,a,2,train", "op1,a,two,train", "line 4: frame is 'two'; expected the frame's number"),
        ("op1,a,2,train", "op1,a,-2,train", "line 4: frame is '-2'; expected the frame's number"),
        ("op1,a,2,train", "op1,,2,train", "line 4: clip is empty"),
        (
            "op1,a,2,train",
            "op1,a,2,dev",
            "line 4: split 'dev' is unknown (1 rows); allowed are train, val, test",
        ),
        ("images/op1_a_2.png", "images/op1_a_3.png", "lines 4 and 5 are the same image images/op1_a_3.png"),
        ("images/op1_a_2.png", "images/x.png", "line 4: image 'images/x.png' does not exist; add it"),
        ("masks/op1_a_2.png", "../x.png", "line 4: mask '../x.png' lies outside the site folder"),
        ("masks/op1_a_2.png", "/etc/hosts", "line 4: mask '/etc/hosts' lies outside the site folder"),
        (
            "frame,split",
            "frame,part",
            "column 'split' is missing; found image, mask, case, clip, frame, part",
        ),
    ],
)
def test_one_thing_wrong_in_the_manifest(
    folder: Path, task: TaskConfig, edit: Edit, old: str, new: str, message: str
) -> None:
    edit(folder / "manifest.csv", old, new)
    with pytest.raises(DataError) as error:
        load_site(folder, task)
    assert message in str(error.value)
    assert str(error.value).startswith(str(folder / "manifest.csv"))
    assert "\n" not in str(error.value)


def test_unknown_column(folder: Path, task: TaskConfig) -> None:
    rows = pd.read_csv(folder / "manifest.csv").assign(surgeon="x")
    rows.to_csv(folder / "manifest.csv", index=False)
    with pytest.raises(DataError, match=r"unknown column 'surgeon'; allowed are image, mask, case, clip, frame, split"):
        load_site(folder, task)


def test_a_site_that_only_tests_needs_no_train_split(write_site: Callable[..., Path], task: TaskConfig) -> None:
    site = load_site(write_site([("op1", "a", 0, "test")]), task)
    assert (site.cases("train"), site.cases("test")) == ((), ("op1",))


def test_spreadsheet_leftovers_are_harmless(folder: Path, task: TaskConfig) -> None:
    """A byte-order mark and blank lines; the line in an error is still the line in the file."""
    text = "\ufeff" + (folder / "manifest.csv").read_text().replace("images/op2_a_0", "\nimages/op2_a_0") + "\n\n"
    (folder / "manifest.csv").write_text(text, encoding="utf-8")
    assert len(load_site(folder, task).frames) == 12
    (folder / "manifest.csv").write_text(text.replace("op2,a,0", "op2,a,x"), encoding="utf-8")
    with pytest.raises(DataError, match="line 10: frame is 'x'"):
        load_site(folder, task)


def test_a_byte_order_mark_in_the_site_file_is_harmless(folder: Path, task: TaskConfig) -> None:
    path = folder / "site.toml"
    path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    assert load_site(folder, task).name == "north"


def test_rows_longer_than_the_header(folder: Path, task: TaskConfig) -> None:
    path = folder / "manifest.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *(row + "," for row in rows)]))
    with pytest.raises(DataError, match=r"manifest.csv: its rows have more cells than its header; remove commas at"):
        load_site(folder, task)


def test_lists_in_a_parquet_table(folder: Path, task: TaskConfig) -> None:
    rows = pd.read_csv(folder / "manifest.csv").assign(phase=[["a", "b"]] * 12)
    (folder / "manifest.csv").unlink()
    rows.to_parquet(folder / "manifest.parquet")
    with pytest.raises(DataError, match="column 'phase' holds lists; give one text or number per row"):
        load_site(folder, task)


def test_a_path_that_leads_to_itself(folder: Path, task: TaskConfig) -> None:
    (folder / "images/op1_a_0.png").unlink()
    (folder / "images/op1_a_0.png").symlink_to("op1_a_0.png")
    with pytest.raises(DataError, match=r"line 2: image 'images/op1_a_0.png' (is no usable path|does not exist)"):
        load_site(folder, task)


def test_link_to_the_outside(folder: Path, task: TaskConfig, tmp_path: Path) -> None:
    image = folder / "images" / "op1_a_0.png"
    image.rename(tmp_path / "elsewhere.png")
    image.symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(DataError, match=r"line 2: image 'images/op1_a_0.png' lies outside the site folder"):
        load_site(folder, task)


def test_several_problems_are_counted(folder: Path, task: TaskConfig) -> None:
    for name in ("images/op1_a_0.png", "masks/op1_a_1.png", "masks/op3_a_0.png"):
        (folder / name).unlink()
    with pytest.raises(
        DataError, match=r"'images/op1_a_0.png' does not exist.* \(2 more: fedsurg data check .*north\)"
    ):
        load_site(folder, task)


def test_manifest_absent_twice_empty_or_no_table(folder: Path, task: TaskConfig) -> None:
    manifest = folder / "manifest.csv"
    (folder / "manifest.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"both manifest.csv and manifest.parquet; keep the one that is right"):
        load_site(folder, task)
    manifest.rename(folder / "old.csv")
    with pytest.raises(DataError, match=r"manifest.parquet: cannot be read as a table"):
        load_site(folder, task)
    (folder / "manifest.parquet").unlink()
    with pytest.raises(DataError, match=r"no manifest.csv or manifest.parquet; write one row per labelled frame"):
        load_site(folder, task)
    manifest.write_text("image,mask,case,clip,frame,split\n")
    with pytest.raises(DataError, match=r"manifest.csv: no rows; add one per labelled frame"):
        load_site(folder, task)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "north"', "", "name: missing; add it"),
        ('name = "north"', 'naem = "north"\nname = "x"', "naem: unknown key; allowed are name, procedure"),
        ('name = "north"', "name = north", "not valid TOML: "),
        (
            "frame_rate_hz = 25",
            "frame_rate_hz = -1",
            "frame_rate_hz: Input should be greater than or equal to 0",
        ),
        (
            "instrument = 255",
            "instrument = 300",
            "mask_values.instrument: Input should be less than or equal to 255",
        ),
        (
            "instrument = 255",
            "instrument = 0",
            "mask_values: 0 stands for both 'background' and 'instrument'",
        ),
        (
            "instrument = 255",
            "instrument = 255\nignore_values = [9]",
            "mask_values holds 'ignore_values'; move that",
        ),
        (
            "frame_rate_hz = 25",
            "ignore_values = [255]",
            "ignore_values and mask_values.instrument both hold 255",
        ),
        ("background = 0\ninstrument = 255", "", "mask_values is empty"),
        (
            "instrument = 255",
            "needle = 255",
            "mask_values.needle is no class of the study; allowed are background",
        ),
    ],
)
def test_one_thing_wrong_in_the_site_file(
    folder: Path, task: TaskConfig, edit: Edit, old: str, new: str, message: str
) -> None:
    edit(folder / "site.toml", old, new)
    with pytest.raises(DataError) as error:
        load_site(folder, task)
    assert str(error.value).startswith(f"{folder / 'site.toml'}: {message}")
    assert "\n" not in str(error.value)


def test_no_folder_and_no_site_file(folder: Path, task: TaskConfig) -> None:
    with pytest.raises(DataError, match=r"no such folder; give the folder that holds site.toml"):
        load_site(folder / "nowhere", task)
    (folder / "site.toml").unlink()
    with pytest.raises(DataError, match=r"site.toml: no such file; every site folder needs one"):
        load_site(folder, task)

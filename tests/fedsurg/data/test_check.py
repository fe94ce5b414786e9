"""`fedsurg data check`: the report, the command, and that all problems are in it."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import ExifTags, Image

from fedsurg.cli.data import data
from fedsurg.data.check import check_site
from fedsurg.data.clips import ClipDataset
from fedsurg.data.pixels import read_image
from fedsurg.data.site import load_site
from fedsurg.study.config import TaskConfig

Edit = Callable[[Path, str, str], None]


def test_good_site(folder: Path, task: TaskConfig) -> None:
    report = check_site(folder, task)
    assert report.ok
    assert (report.problems, report.warnings, report.missing) == ((), (), ())
    assert (report.name, report.labels) == ("north", ("background", "instrument"))
    train = report.splits["train"]
    assert (train.cases, train.clips, train.frames, train.unlabelled) == (2, 3, 10, 0)
    assert train.shares == pytest.approx({"background": 1 - 64 / 3072, "instrument": 64 / 3072})
    assert (report.splits["val"].cases, report.splits["val"].frames) == (1, 2)


def test_clips_that_nobody_calls_video(folder: Path, task: TaskConfig, edit: Edit) -> None:
    edit(folder / "site.toml", "frame_rate_hz = 25", "frame_rate_hz = 0")
    (warning,) = check_site(folder, task, pixels=False).warnings
    assert "site.toml: frame_rate_hz is 0, so the frames of 4 clips are taken as single pictures" in warning
    site = load_site(folder, task)
    assert ClipDataset(site, site.frames, (48, 64), 3)[5].frames.shape[0] == 1


def test_ignored_pixels_have_no_share_in_the_classes(folder: Path, task: TaskConfig, edit: Edit) -> None:
    edit(folder / "site.toml", "frame_rate_hz = 25", "ignore_values = [7]")
    for frame in (0, 1):
        mask = Image.new("L", (64, 48), 7)
        mask.paste(255, (0, 0, 16, 48))
        mask.save(folder / f"masks/op3_a_{frame}.png")
    val = check_site(folder, task).splits["val"]
    assert (val.shares, val.unlabelled) == ({"background": 0, "instrument": 1}, 0.75)


def test_without_a_study_the_sites_names_are_the_labels(folder: Path, edit: Edit) -> None:
    edit(folder / "site.toml", "instrument = 255", "grasper = 255")
    edit(folder / "site.toml", "frame_rate_hz = 25", 'missing = ["needle"]')
    report = check_site(folder)
    assert (report.ok, report.labels, report.missing) == (True, ("background", "grasper"), ("needle",))


def test_without_a_study_the_background_must_be_named(folder: Path, edit: Edit) -> None:
    edit(folder / "site.toml", "background = 0", "tissue = 0")
    (problem,) = check_site(folder).problems
    assert problem.endswith("mask_values has no 'background'; give what is none of tissue, instrument that name")


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    Image.new("RGB", (64, 48)).save(path, exif=exif)


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (lambda path: Image.new("I;16", (64, 48), 700).save(path), r"more than 8 bits to a channel \(mode I;16\)"),
        (lambda path: Image.new("F", (64, 48), 0.5).save(path, "TIFF"), r"more than 8 bits to a channel \(mode F\)"),
        (turned, r"shown turned or mirrored \(orientation 3\), .*; export it as it is shown"),
    ],
)
def test_pictures_that_would_be_read_wrongly(
    folder: Path, task: TaskConfig, save: Callable[[Path], None], message: str
) -> None:
    save(folder / "images/op1_a_0.png")
    (problem,) = check_site(folder, task).problems
    assert re.search(rf"op1_a_0.png: .*{message}", problem)


@pytest.mark.filterwarnings("error")
def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 2), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.save(tmp_path / "a.png", transparency=b"\xff\x80")
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [10, 20, 30]


def test_a_mask_that_is_an_image(folder: Path, task: TaskConfig, edit: Edit) -> None:
    edit(folder / "manifest.csv", "masks/op1_a_0.png", "./images/op1_a_1.png")
    assert any(
        "line 2: mask 'images/op1_a_1.png' is the image of line 3; name the file of its labels" in problem
        for problem in check_site(folder, task).problems
    )


def test_a_label_with_brackets_in_its_name(folder: Path, edit: Edit) -> None:
    edit(folder / "site.toml", "instrument = 255", '"[/red]" = 255')
    result = CliRunner().invoke(data, ["check", str(folder)])
    assert result.exit_code == 0 and "[/red]" in result.output


def test_names_are_checked_against_the_study(folder: Path) -> None:
    report = check_site(folder, TaskConfig(classes=("background", "instrument", "needle")))
    assert len(report.problems) == 1
    assert "class 'needle' of the study is neither in mask_values" in report.problems[0]
    assert report.splits["train"].frames == 10  # the rest is checked all the same


def test_all_problems_are_collected(folder: Path, task: TaskConfig, edit: Edit) -> None:
    (folder / "images/op1_a_0.png").write_text("no image")
    (folder / "images/op1_a_1.png").unlink()
    Image.new("L", (32, 32)).save(folder / "masks/op1_a_2.png")
    Image.new("L", (64, 48), 9).save(folder / "masks/op1_a_3.png")
    edit(folder / "manifest.csv", "op2,a,2,train", "op2,a,2,val")
    seen: list[tuple[int, int]] = []
    report = check_site(folder, task, on_frame=lambda done, total: seen.append((done, total)))
    expected = [
        "case 'op2' is in two splits",
        "image 'images/op1_a_1.png' does not exist",
        "images/op1_a_0.png: not an image",
        "masks/op1_a_2.png: the mask is 32 x 32",
        "masks/op1_a_3.png: mask value 9 is not mapped (100.0 % of the pixels)",
    ]
    assert len(report.problems) == len(expected)
    for problem, part in zip(report.problems, expected, strict=True):
        assert part in problem
        assert "\n" not in problem
    assert seen == [(done, 12) for done in range(1, 13)]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (shutil.rmtree, "no such folder"),
        (lambda folder: (folder / "site.toml").unlink(), "site.toml: no such file"),
        (lambda folder: (folder / "manifest.csv").unlink(), "no manifest.csv or manifest.parquet"),
        (lambda folder: (folder / "manifest.csv").write_text("a,b\n"), "column 'image' is missing; found a, b"),
    ],
)
def test_what_cannot_be_read_at_all_is_one_problem(
    folder: Path, task: TaskConfig, break_it: Callable[[Path], object], message: str
) -> None:
    break_it(folder)
    report = check_site(folder, task)
    assert len(report.problems) == 1
    assert message in report.problems[0]


def test_a_split_is_missing(write_site: Callable[..., Path], task: TaskConfig) -> None:
    report = check_site(write_site([("a", "a", 0, "train"), ("b", "a", 0, "train")]), task)
    assert [problem.split(": ", 1)[1] for problem in report.problems] == [
        "split 'val' is empty; give at least one case split = val"
    ]


def test_the_same_picture_in_two_splits_is_a_leak(folder: Path, task: TaskConfig) -> None:
    """Found by its pixels: another name and another compression do not hide it."""
    Image.open(folder / "images/op1_a_0.png").save(folder / "images/op3_a_1.png", compress_level=0)
    shutil.copy(folder / "images/op1_a_1.png", folder / "images/op1_a_2.png")  # within a split: no leak
    report = check_site(folder, task)
    assert report.ok
    assert report.warnings == (
        f"{folder / 'manifest.csv'}: lines 2 (train) and 13 (val) show the same picture, images/op3_a_1.png; "
        "scores would be on data trained on",
    )


def test_a_class_that_is_never_seen(folder: Path, task: TaskConfig) -> None:
    for mask in folder.glob("masks/*.png"):
        Image.new("L", (64, 48)).save(mask)
    (warning,) = check_site(folder, task).warnings
    assert "'instrument' is in none of the 12 masks" in warning


def test_command_on_a_good_site(folder: Path) -> None:
    result = CliRunner().invoke(data, ["check", str(folder)])
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == "north: laparoscopic cholecystectomy"
    assert "2.08 %" in result.output
    assert result.output.splitlines()[-1] == "ok"


def test_command_on_a_bad_site(folder: Path) -> None:
    (folder / "images/op1_a_0.png").write_text("no image")
    result = CliRunner().invoke(data, ["check", str(folder)])
    assert result.exit_code == 3
    lines = [line for line in result.output.splitlines() if line.startswith("problem: ")]
    assert len(lines) == 1
    assert lines[0].endswith("op1_a_0.png: not an image; replace it or remove its line from the manifest")


def test_command_as_json(folder: Path) -> None:
    good = json.loads(CliRunner().invoke(data, ["check", str(folder), "--json"]).output)
    assert good["ok"] is True
    assert good["splits"]["train"]["frames"] == 10
    (folder / "images/op1_a_0.png").unlink()
    result = CliRunner().invoke(data, ["check", str(folder), "--json"])
    bad = json.loads(result.output)
    assert result.exit_code == 3
    assert (bad["ok"], len(bad["problems"])) == (False, 1)


def test_command_with_a_study(folder: Path, tmp_path: Path, edit: Edit) -> None:
    study = tmp_path / "study.toml"
    site = 'name = "s"\n[[sites]]\nname = "north"\nprocedure = "p"\n'
    study.write_text(site + '[task]\nclasses = ["background", "shaft", "wrist"]\n')
    command = ["check", str(folder), "--study", str(study), "--json"]
    whole = json.loads(CliRunner().invoke(data, command).output)
    assert (whole["ok"], whole["labels"]) == (True, ["background", "instrument"])
    edit(folder / "site.toml", "instrument = 255", "hook = 255")
    result = CliRunner().invoke(data, command)
    assert result.exit_code == 3
    assert "mask_values.hook is no class of the study" in json.loads(result.output)["problems"][0]


def test_the_check_needs_no_torch(folder: Path) -> None:
    """Importing torch takes longer than checking a small folder."""
    code = (
        "import sys; from fedsurg.cli.data import data; data(['check', sys.argv[1]], standalone_mode=False); "
        "assert not {'torch', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True, timeout=60)

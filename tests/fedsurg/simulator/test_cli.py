"""The command line: help without the renderer, a table of profiles, errors in one line."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fedsurg.cli.simulator import simulator
from fedsurg.data.site_file import read_site_file
from fedsurg.errors import DataError, SimulatorError
from fedsurg.simulator import PROFILES
from fedsurg.simulator.preview import CAPTION_PX


def test_profiles_are_listed_with_their_summaries() -> None:
    result = CliRunner().invoke(simulator, ["profiles"])
    assert result.exit_code == 0
    for name, profile in PROFILES.items():
        assert f"{name} " in result.output and profile.summary in result.output


def test_importing_the_commands_loads_no_renderer() -> None:
    code = "import sys, fedsurg.cli.simulator; print({'mitsuba', 'scipy', 'torch', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_a_bad_size_is_explained(tmp_path: Path) -> None:
    words = ["render", "--clips", "1", "--frames", "1", "--seed", "0", "--out", str(tmp_path / "x"), "--size", "big"]
    result = CliRunner().invoke(simulator, words)
    assert result.exit_code == 2
    assert "for example 160x192" in result.output


def test_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    words = [
        "render",
        "--profile",
        "moon",
        "--clips",
        "1",
        "--frames",
        "1",
        "--seed",
        "0",
        "--out",
        str(tmp_path / "x"),
    ]
    result = CliRunner().invoke(simulator, words)
    assert isinstance(result.exception, SimulatorError)


def test_render_and_preview(tmp_path: Path) -> None:
    shared = ["--profile", "eye", "--size", "32x40", "--seed", "1", "--workers", "1"]
    out = tmp_path / "site"
    result = CliRunner().invoke(simulator, ["render", *shared, "--clips", "1", "--frames", "1", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "1 frames, digest" in result.output and "Rendering: 1 of 1 frames" in result.output
    assert (out / "manifest.csv").exists()
    sheet = tmp_path / "sheet.png"
    result = CliRunner().invoke(simulator, ["preview", *shared, "--columns", "2", "--out", str(sheet)])
    assert result.exit_code == 0, result.output
    with Image.open(sheet) as picture:
        assert picture.size == (80, CAPTION_PX + 32)
    usual = sheet.read_bytes()
    result = CliRunner().invoke(simulator, ["preview", *shared, "--columns", "2", "--out", str(sheet), "--worn"])
    assert result.exit_code == 0, result.output
    assert sheet.read_bytes() != usual


def test_a_clip_of_no_length_is_one_clear_line(tmp_path: Path) -> None:
    words = ["preview", "--profile", "eye", "--seconds", "nan", "--out", str(tmp_path / "sheet.png")]
    result = CliRunner().invoke(simulator, words)
    assert isinstance(result.exception, SimulatorError)
    assert str(result.exception) == "seconds is nan; give the length of a clip, above 0"


def test_a_row_of_one_clip_over_time(tmp_path: Path) -> None:
    words = ["--profile", "eye", "--profile", "stomach", "--size", "32x40", "--seed", "1", "--workers", "1"]
    sheet = tmp_path / "sheet.png"
    more = ["--columns", "3", "--seconds", "0.3", "--out", str(sheet)]
    result = CliRunner().invoke(simulator, ["preview", *words, *more])
    assert result.exit_code == 0, result.output
    with Image.open(sheet) as picture:
        pixels = np.array(picture).astype(int)
    eye, stomach = (row[CAPTION_PX:] for row in np.split(pixels, 2))
    assert eye.shape == (32, 120, 3)
    apart = np.abs(eye[:, :40] - stomach[:, :40]).mean()
    for row in (eye, stomach):  # a tenth of a second later most is where it was
        first, second = row[:, :40], row[:, 40:80]
        assert 0 < np.abs(second - first).mean() < apart / 2


def test_help_names_the_options() -> None:
    result = CliRunner().invoke(simulator, ["render", "--help"])
    for option in ("--profile", "--clips", "--frames", "--seed", "--size", "--out", "--workers"):
        assert option in result.output


def test_sizes_are_height_by_width() -> None:
    from fedsurg.cli.simulator import Size

    assert Size().convert("160x192", None, None) == (160, 192)
    with pytest.raises(Exception, match="not a size"):
        Size().convert("160", None, None)


def test_a_sheet_takes_pictures_in_and_shows_real_frames_below(backgrounds: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    words = ["--profile", "eye", "--size", "32x40", "--seed", "1", "--workers", "1"]
    made = CliRunner().invoke(simulator, ["render", *words, "--clips", "2", "--frames", "1", "--out", str(site)])
    assert made.exit_code == 0, made.output
    for path in (site / "images").iterdir():
        Image.new("RGB", (60, 60), (10, 20, 250)).save(path, quality=95)
    sheet = tmp_path / "sheet.png"
    more = ["--backgrounds", str(backgrounds), "--beside", str(site), "--columns", "3", "--out", str(sheet)]
    result = CliRunner().invoke(simulator, ["preview", *words, *more])
    assert result.exit_code == 0, result.output
    assert f"rows eye, frames of {site}" in result.output
    with Image.open(sheet) as picture:
        pixels = np.array(picture).astype(int)
    rendered, real = np.split(pixels, 2)
    assert rendered.shape == (CAPTION_PX + 32, 120, 3)
    assert (np.abs(real[CAPTION_PX:] - (10, 20, 250)) < 12).all()  # the real frames, all of them
    assert rendered[CAPTION_PX:, :, 2].mean() < 200
    assert all(row[:CAPTION_PX].max() > 150 and row[:CAPTION_PX].mean() < 60 for row in (rendered, real))  # captions


def test_a_whole_hospital(tmp_path: Path) -> None:
    """Under a name, of one look, with a split of its own: a study takes it as it is."""
    words = ["--clips", "2", "--frames", "1", "--seed", "3", "--size", "32x40", "--val-cases", "1", "--profile", "eye"]
    more = ["--site", "ward", "--procedure", "cataract surgery", "--look-seed", "5", "--frame-rate", "12.5"]
    result = CliRunner().invoke(simulator, ["render", *words, *more, "--out", str(tmp_path / "ward")])
    assert result.exit_code == 0, result.output
    site = read_site_file(tmp_path / "ward")
    assert (site.name, site.procedure, site.frame_rate_hz) == ("ward", "cataract surgery", 12.5)
    assert json.loads((tmp_path / "ward" / "simulator.json").read_text())["request"]["look_seed"] == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_rendering_that_is_stopped_says_so_and_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    code = "import signal; signal.signal(2, signal.default_int_handler); from fedsurg.cli import main; main()"
    words = [
        "simulator",
        "render",
        "--clips",
        "40",
        "--frames",
        "1",
        "--seed",
        "1",
        "--size",
        "32x40",
        "--workers",
        "1",
    ]
    command = [sys.executable, "-c", code, *words, "--out", str(tmp_path / "site")]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("clips/*.json")):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(number)
    said = running.communicate(timeout=60)[1].splitlines()
    assert running.returncode == 130
    assert said[-1] == "fedsurg: stopped; the same command goes on from the clips that are finished"
    assert not [line for line in said if "semaphore" in line or "Traceback" in line]
    assert list(tmp_path.rglob("clips/*.json"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_sheet_that_is_stopped_leaves_none_of_its_pictures(
    backgrounds: Path, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "new").mkdir()
    words = ["--backgrounds", str(backgrounds), "--size", "32x40", "--columns", "24", "--workers", "1"]
    # whoever runs the tests may ignore interrupts, as a shell does for what runs in its background
    code = "import signal; signal.signal(2, signal.default_int_handler); from fedsurg.cli import main; main()"
    command = [sys.executable, "-c", code, "simulator", "preview", *words, "--out", str(tmp_path / "new" / "sheet.png")]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (found := list((tmp_path / "new").rglob("*.jpg"))):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    scratch = tmp_path / "new" / found[0].relative_to(tmp_path / "new").parts[0]
    assert scratch.stat().st_mode & 0o777 == 0o700
    running.send_signal(number)
    assert running.wait(60) != 0
    assert not list((tmp_path / "new").iterdir())


def test_a_sheet_of_impossible_size_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    words = ["--size", "99999999x99999999", "--beside", str(tmp_path), "--out", str(tmp_path / "new" / "sheet.png")]
    result = CliRunner().invoke(simulator, ["preview", *words])
    assert isinstance(result.exception, SimulatorError) and "it must be at most 8192" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_beside_nothing_is_refused(tmp_path: Path) -> None:
    words = ["--profile", "eye", "--size", "32x40", "--beside", str(tmp_path), "--out", str(tmp_path / "sheet.png")]
    result = CliRunner().invoke(simulator, ["preview", *words])
    assert isinstance(result.exception, DataError)
    assert list(tmp_path.iterdir()) == []

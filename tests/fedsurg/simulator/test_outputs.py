"""What can be written beside pictures and masks: instances, depth, video."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedsurg.data.check import check_site
from fedsurg.errors import SimulatorError
from fedsurg.simulator import RenderRequest, video
from fedsurg.simulator.dataset import render

REQUEST = RenderRequest(
    ("kidney_bed",), clips=2, frames=2, seed=4, height=32, width=48, val_cases=1, labels=("parts", "instances", "depth")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(REQUEST, tmp_path_factory.mktemp("sim") / "site", workers=1)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def test_instances_are_numbered_and_named(folder: Path) -> None:
    kinds = json.loads((folder / "instruments.json").read_text())
    assert sorted(kinds) == ["clip00000", "clip00001"]
    seen = 0
    for mask in sorted((folder / "masks").iterdir()):
        instances = pixels(folder / "instances" / mask.name)
        assert instances.dtype == np.uint8
        assert ((instances > 0) == (pixels(mask) > 0)).all()
        clip = kinds[mask.name.split("_")[0]]
        assert {str(number) for number in np.unique(instances) if number} <= set(clip)
        assert all(clip.values())
        seen += int((instances > 0).sum())
    assert seen > 50


def test_depth_is_in_tenths_of_millimetres(folder: Path) -> None:
    for path in sorted((folder / "depth").iterdir()):
        depth, instances = pixels(path), pixels(folder / "instances" / path.name)
        assert depth.dtype == np.uint16
        assert 200 < np.median(depth[depth > 0]) < 2000  # the profile's camera is 55 to 110 mm away
        assert (depth[instances > 0] > 20).all()


def test_a_folder_with_everything_is_site_data(folder: Path) -> None:
    assert check_site(folder).problems == ()


def test_labels_change_no_picture(folder: Path, tmp_path: Path) -> None:
    plain = render(replace(REQUEST, labels=("parts",)), tmp_path / "plain", workers=1)
    for name in ("images", "masks"):
        for path in (plain / name).iterdir():
            assert path.read_bytes() == (folder / name / path.name).read_bytes()
    assert not (plain / "depth").exists() and not (plain / "instruments.json").exists()


def test_video_holds_the_frames(folder: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    filmed = render(replace(REQUEST, labels=("parts",), video=True), tmp_path / "film", workers=2)
    assert sorted(path.name for path in (filmed / "videos").iterdir()) == ["clip00000.mp4", "clip00001.mp4"]
    with av.open(filmed / "videos/clip00001.mp4") as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 2
    for number, frame in enumerate(frames):
        stored = pixels(folder / f"images/clip00001_{number:05d}.jpg").astype(float)
        assert np.abs(frame - stored).mean() < 8
    assert np.abs(frames[0].astype(float) - pixels(folder / "images/clip00000_00000.jpg")).mean() > 8


def test_video_bytes_repeat() -> None:
    pytest.importorskip("av")
    noise = np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), dtype=np.uint8)
    assert video.h264(list(noise), 8.0) == video.h264(list(noise), 8.0)


def test_a_missing_video_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(
        SimulatorError, match=r"video needs PyAV; install it, in the checkout: pip install '\.\[video\]'"
    ):
        render(replace(REQUEST, video=True), tmp_path / "film")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    out = tmp_path / "site"
    partial = tmp_path / f".site.{REQUEST.digest()[:16]}.partial"
    (partial / "depth").mkdir(parents=True)
    (partial / "depth/clip00001_00000.png").symlink_to("/dev/full")
    with pytest.raises(
        SimulatorError, match=r"clip00001_00000.png: cannot be written \(No space left on device\); free"
    ):
        render(REQUEST, out, workers=1)
    assert not out.exists()
    assert [path.name for path in (partial / "clips").iterdir()] == ["00000.json"]


def command(out: Path, *more: str) -> list[str]:
    words = ["--profile", "kidney_bed", "--clips", "3", "--frames", "3", "--seed", "9", "--size", "32x48"]
    words += ["--workers", "2", "--labels", "parts,instances"]
    return [sys.executable, "-m", "fedsurg.cli", "simulator", "render", *words, "--out", str(out), *more]


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("kill", [os.killpg, os.kill], ids=["all processes", "the parent alone"])
def test_a_killed_rendering_goes_on_where_it_was(kill: object, tmp_path: Path) -> None:
    assert callable(kill)
    out = tmp_path / "site"
    running = subprocess.Popen(command(out), start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".site.*.partial/clips/*.json")):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    kill(running.pid, signal.SIGKILL)
    assert running.wait(30) == -signal.SIGKILL
    while alive(running.pid):  # the workers end with their parent
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not out.exists()
    (partial,) = tmp_path.glob(".site.*.partial")
    finished = {path.stem for path in (partial / "clips").iterdir() if path.suffix == ".json"}
    before = {
        path.name: path.stat().st_mtime_ns for path in (partial / "images").iterdir() if path.name[4:9] in finished
    }
    subprocess.run(command(out), check=True, capture_output=True, timeout=120)
    assert {name: (out / "images" / name).stat().st_mtime_ns for name in before} == before
    subprocess.run(command(tmp_path / "again"), check=True, capture_output=True, timeout=120)
    for path in (tmp_path / "again").rglob("*"):
        if path.is_file():
            assert (out / path.relative_to(tmp_path / "again")).read_bytes() == path.read_bytes()
    assert list(tmp_path.glob(".site.*")) == []

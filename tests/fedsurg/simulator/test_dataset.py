"""Rendered folders: reproducible, resumable, well formed, and never half there."""

import csv
import fcntl
import json
import os
import shutil
import tomllib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedsurg.data.site_file import read_site_file
from fedsurg.errors import SimulatorError
from fedsurg.simulator import RenderRequest, cached, dataset
from fedsurg.simulator.actions import ACTIVITIES
from fedsurg.simulator.dataset import render

REQUEST = RenderRequest(("abdominal", "eye"), clips=3, frames=2, seed=1, height=48, width=64, val_cases=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(REQUEST, tmp_path_factory.mktemp("sim") / "site", workers=2)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_bytes_do_not_depend_on_the_number_of_processes(folder: Path, tmp_path: Path) -> None:
    assert content(render(REQUEST, tmp_path / "again", workers=1)) == content(folder)


def test_a_link_is_followed_and_what_cannot_be_replaced_is_refused_before_drawing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert content(render(REQUEST, tmp_path / "link")) == content(folder)
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(SimulatorError, match=r"here: is the working directory.*give the name of a folder in it"):
        render(REQUEST, Path())
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path).endswith("volume"))
    with pytest.raises(SimulatorError, match="volume: is mounted there"):
        render(REQUEST, tmp_path / "volume")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "link", "real"]


def test_finished_clips_are_kept_when_the_last_rename_fails(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(16, "Device or resource busy")

    drawn: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "write_atomic", _plain_write)
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(SimulatorError, match=r"the frames are kept in .*partial, the same command goes on"):
            render(REQUEST, tmp_path / "out")
    render(REQUEST, tmp_path / "out", progress=lambda done, _all: drawn.append(done))
    assert drawn == [6]  # nothing is drawn again
    assert content(tmp_path / "out") == content(folder)


def test_records_that_a_killed_rendering_left_behind_go_with_the_next_command(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "out")
    (tmp_path / "out" / "clips").mkdir()
    (tmp_path / "out" / "clips" / "00000.json").write_text("{}")
    render(REQUEST, tmp_path / "out")
    assert content(tmp_path / "out") == content(folder)


def _plain_write(path: Path, text: str, **_: object) -> None:
    path.write_text(text)


def test_manifest_and_site_file(folder: Path) -> None:
    with (folder / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "mask", "case", "clip", "frame", "split", "activity"]
    assert {row["activity"] for row in rows} <= set(ACTIVITIES)
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["images", "masks"]
    assert [row["frame"] for row in rows] == ["0", "1"] * 3
    assert [row["split"] for row in rows] == ["train"] * 4 + ["val"] * 2
    site = tomllib.loads((folder / "site.toml").read_text())
    assert site["mask_values"] == {"background": 0, "shaft": 1, "wrist": 2, "clasper": 3}
    assert (site["name"], site["frame_rate_hz"], site["simulated"]) == ("synthetic", 8.0, True)
    for row in rows:
        with Image.open(folder / row["image"]) as picture, Image.open(folder / row["mask"]) as mask:
            assert (picture.mode, mask.mode) == ("RGB", "L")
            assert picture.size == mask.size == (64, 48)
            assert set(np.unique(mask)) <= {0, 1, 2, 3}
            assert np.asarray(picture).std() > 5


def test_record_names_the_request(folder: Path) -> None:
    record = json.loads((folder / "simulator.json").read_text())
    assert record["digest"] == REQUEST.digest()
    assert record["request"]["profiles"] == ["abdominal", "eye"]


def test_whole_instruments_are_the_union_of_parts(folder: Path, tmp_path: Path) -> None:
    whole = render(replace(REQUEST, whole_instruments=True), tmp_path / "whole", workers=2)
    site = tomllib.loads((whole / "site.toml").read_text())
    assert site["mask_values"] == {"background": 0, "instrument": 255}
    for mask in sorted((folder / "masks").iterdir()):
        with Image.open(mask) as parts, Image.open(whole / "masks" / mask.name) as union:
            assert (np.asarray(union) == np.where(np.asarray(parts) > 0, 255, 0)).all()


@pytest.mark.parametrize(
    "lost", ["images/clip00001_00000.jpg", "masks/clip00002_00001.png", "manifest.csv", "site.toml"]
)
def test_a_finished_rendering_that_lost_a_file_is_not_taken_for_whole(folder: Path, tmp_path: Path, lost: str) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / lost).unlink()
    with pytest.raises(SimulatorError, match=f"{lost}: is missing or damaged; delete the folder and draw it again"):
        render(REQUEST, broken)
    (broken / lost).touch()
    with pytest.raises(SimulatorError, match=f"{lost}: is missing or damaged; delete the folder and draw it again"):
        render(REQUEST, broken)


def test_a_manifest_that_was_cut_is_not_taken_for_whole(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    whole = (broken / "manifest.csv").read_text()
    for cut in ("", whole.splitlines()[0] + "\n", whole[: whole.rindex(",masks/")]):
        (broken / "manifest.csv").write_text(cut)
        with pytest.raises(SimulatorError, match=r"manifest.csv: is missing or damaged"):
            render(REQUEST, broken)


def test_a_hospital_of_any_procedure_can_be_read_again(tmp_path: Path) -> None:
    request = replace(REQUEST, clips=1, frames=1, val_cases=0, site="ward", procedure='heart 🫀 "open" surgery')
    site = read_site_file(render(request, tmp_path / "site"))
    assert (site.name, site.procedure, site.frame_rate_hz) == ("ward", 'heart 🫀 "open" surgery', 8.0)


def test_what_describes_drawn_pictures_is_as_open_as_they_are(folder: Path) -> None:
    modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert len(modes) == 1


def test_what_another_command_left_for_the_same_folder_goes(tmp_path: Path) -> None:
    left = tmp_path / f".site.{'0' * 16}.partial"
    (left / "images").mkdir(parents=True)
    held = tmp_path / f".site.{'1' * 16}.partial"
    held.mkdir()
    handle = os.open(held, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)  # as if another command were at work there
    render(replace(REQUEST, clips=1, frames=1, val_cases=0), tmp_path / "site")
    assert sorted(path.name for path in tmp_path.iterdir()) == [held.name, "site"]
    os.close(handle)


def test_a_second_call_renders_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "ProcessPoolExecutor", None)
    assert render(REQUEST, folder) == folder


def test_finished_clips_are_kept_and_the_rest_is_rendered(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    partial = interrupted(folder, out)
    kept = partial / "images/clip00000_00000.jpg"
    before = kept.stat().st_mtime_ns
    seen: list[tuple[int, int]] = []
    render(REQUEST, out, workers=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 6), (4, 6), (6, 6)]
    assert (out / "images/clip00000_00000.jpg").stat().st_mtime_ns == before
    assert content(out) == content(folder)
    assert not partial.exists()


def interrupted(folder: Path, out: Path) -> Path:
    """What is left of a rendering that was killed after its first clip, in the middle of the second."""
    partial = out.parent / f".{out.name}.{REQUEST.digest()[:16]}.partial"
    shutil.copytree(folder, partial)
    for name in ("manifest.csv", "site.toml", "simulator.json"):
        (partial / name).unlink()
    for path in [*partial.rglob("clip00001_00001*"), *partial.rglob("clip00002*")]:
        path.unlink()
    with (folder / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["clip"] == "clip00000"]
    (partial / "clips").mkdir()
    (partial / "clips/00000.json").write_text(json.dumps({"rows": rows, "instruments": {}}))
    return partial


def test_what_a_person_put_beside_the_frames_stays(folder: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(folder, tmp_path / "mine"))
    (mine / "clips").mkdir()
    for name in ("00000.json", "notes.txt"):
        (mine / "clips" / name).write_text("")
    render(REQUEST, mine)
    assert [path.name for path in (mine / "clips").iterdir()] == ["notes.txt"]


def test_an_empty_folder_keeps_its_permissions(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    out.mkdir(mode=0o700)
    interrupted(folder, out)
    render(REQUEST, out, workers=2)
    assert out.stat().st_mode & 0o777 == 0o700


def test_a_place_that_was_taken_meanwhile(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = interrupted(folder, tmp_path / "site")
    described = dataset._describe

    def and_another_comes(request: RenderRequest, place: Path) -> None:
        described(request, place)
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "notes.txt").touch()

    monkeypatch.setattr(dataset, "_describe", and_another_comes)
    with pytest.raises(SimulatorError, match=r"site: something else was put there meanwhile; the frames are kept in"):
        render(REQUEST, tmp_path / "site", workers=2)
    assert (partial / "images/clip00002_00001.jpg").exists()


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SimulatorError, match="holds something else"):
        render(REQUEST, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_another_request_is_not_mixed_in(folder: Path) -> None:
    with pytest.raises(SimulatorError, match="expected"):
        render(replace(REQUEST, seed=2), folder)


def test_cache_is_named_by_digest(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / REQUEST.digest()[:16])
    assert cached(REQUEST, tmp_path) == tmp_path / REQUEST.digest()[:16]


def dying_pool(*arguments: Any, **options: Any) -> ProcessPoolExecutor:
    """A pool whose processes die as they start."""
    return ProcessPoolExecutor(*arguments, **(options | {"initializer": os._exit, "initargs": (9,)}))


def test_a_dead_renderer_is_one_clear_error(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = interrupted(folder, tmp_path / "site")
    monkeypatch.setattr(dataset, "ProcessPoolExecutor", dying_pool)
    with pytest.raises(SimulatorError, match="died after 1 of 3 clips"):
        render(REQUEST, tmp_path / "site", workers=1)
    assert (partial / "clips/00000.json").exists()
    assert not (tmp_path / "site").exists()


def test_frames_that_cannot_be_written_leave_no_folder(folder: Path, tmp_path: Path) -> None:
    partial = interrupted(folder, tmp_path / "site")
    shutil.rmtree(partial / "masks")
    (partial / "masks").write_text("in the way")
    with pytest.raises(SimulatorError, match=r"clip00001_00000.png: cannot be written"):
        render(REQUEST, tmp_path / "site", workers=1)
    assert (partial / "clips/00000.json").exists()
    assert not (tmp_path / "site").exists()

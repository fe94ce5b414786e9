"""`fedsurg simulate` and `fedsurg evaluate` from end to end, as a person types them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from fedsurg.errors import StudyError
from fedsurg.tensor_file import read_tensors

Fedsurg = Callable[..., tuple[int, str, str]]

WAIT_S = 120.0


@pytest.fixture(scope="session")
def study_file(tmp_path_factory: pytest.TempPathFactory, tiny_text: str) -> Path:
    path = tmp_path_factory.mktemp("studies") / "tiny.toml"
    path.write_text(tiny_text)
    return path


@pytest.fixture(scope="session")
def words(study_file: Path, data: Path, cache: Path, start: Path) -> list[str]:
    """The command without its run folder; the start is in the cache already."""
    assert start.exists()
    return ["simulate", str(study_file), "--data", str(data), "--cache", str(cache), "--device", "cpu", "--jobs", "1"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> Path:
    """A run folder that `fedsurg simulate` has made."""
    out = tmp_path_factory.mktemp("runs") / "run"
    done = subprocess.run(_command(*words, "--out", str(out)), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"report: {out}" in done.stdout
    return out


def test_a_run_leaves_everything_that_a_person_needs(finished: Path) -> None:
    assert (finished / "report.html").stat().st_size > 1000
    run = json.loads((finished / "run.json").read_text())
    assert run["study"]["name"] == "tiny"
    assert run["simulated_sites"] == ["north", "east", "harbour"]
    assert run["wall_s"] > 0
    assert {path.name for path in (finished / "runs" / "fedst").iterdir()} >= {
        "contract.json",
        "done.json",
        "history.jsonl",
        "overlays",
        "scores.csv",
        "server",
        "sites",
    }
    assert not [path for path in finished.rglob(".*") if path.is_file()]  # no temporary file is left


def test_it_is_the_same_run_as_in_one_process(finished: Path, straight: Any) -> None:
    assert _same_checkpoint(finished / "runs" / "fedst", straight.folder)


def test_an_existing_folder_is_an_error(finished: Path, words: list[str], fedsurg: Fedsurg) -> None:
    code, _, err = fedsurg(*words, "--out", str(finished))
    assert code == 1
    assert err == f"fedsurg: {finished}: exists already; choose another --out, or go on there with --resume\n"


def test_resuming_with_another_seed_is_an_error(finished: Path, words: list[str], fedsurg: Fedsurg) -> None:
    before = (finished / "run.json").read_text()
    code, _, err = fedsurg(*words, "--out", str(finished), "--resume", "--seed", "99")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "was started with study" in err
    assert "Traceback" not in err
    assert (finished / "run.json").read_text() == before


def test_resuming_a_finished_run_does_nothing_again(finished: Path, words: list[str], fedsurg: Fedsurg) -> None:
    path = finished / "runs" / "fedst" / "server" / "checkpoint.safetensors"
    before = path.stat().st_mtime_ns
    code, out, _ = fedsurg(*words, "--out", str(finished), "--resume")
    assert code == 0
    assert "report:" in out
    assert path.stat().st_mtime_ns == before


def test_bad_data_is_one_line(own_data: Path, study_file: Path, cache: Path, tmp_path: Path, fedsurg: Fedsurg) -> None:
    (own_data / "east" / "site.toml").unlink()
    code, _, err = fedsurg("simulate", study_file, "--data", own_data, "--cache", cache, "--out", tmp_path / "out")
    assert code == 3
    assert err == (
        f"fedsurg: {own_data}/east/site.toml: no such file; every site folder needs one "
        "(name, procedure, mask_values)\n"
    )


def test_an_out_folder_that_cannot_be_made(words: list[str], fedsurg: Fedsurg, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = fedsurg(*words, "--out", str(tmp_path / "file" / "out"))
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "out: cannot be written (Not a directory)" in err


@pytest.mark.slow
def test_must_hold_8_ctrl_c_then_resume_is_the_same_run(
    finished: Path, words: list[str], tmp_path: Path, fedsurg: Fedsurg
) -> None:
    """Ctrl-C reaches every process of the terminal's group, as soon as the first round is on disk."""
    out = tmp_path / "run"
    with (tmp_path / "stderr").open("w") as errors, _started(*words, "--out", str(out), stderr=errors) as process:
        deadline = time.monotonic() + 120
        while not (out / "runs" / "fedst" / "server" / "checkpoint.safetensors").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=120) == 130
    assert (tmp_path / "stderr").read_text() == (
        "fedsurg: stopped; every finished round is on disk, go on with --resume\n"
    )
    assert not (out / "runs" / "fedst" / "done.json").exists()
    code, _, _ = fedsurg(*words, "--out", str(out), "--resume")
    assert code == 0
    assert _same_checkpoint(out / "runs" / "fedst", finished / "runs" / "fedst")
    scores = [(folder / "runs" / "fedst" / "scores.csv").read_text() for folder in (out, finished)]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_jobs_end_with_the_command(words: list[str], tmp_path: Path, until: Callable[..., Any]) -> None:
    """Else they would train on for nobody, and write into the folder beside a resumed run."""
    out = tmp_path / "run"
    checkpoint = out / "runs" / "fedst" / "server" / "checkpoint.safetensors"
    with _started(*words, "--out", str(out), "--rounds", "500", stderr=subprocess.DEVNULL) as process:
        until(checkpoint.exists, "no round is finished")
        process.kill()
        process.wait(30)
        until(lambda: not _members(process.pid), "a job lives on")


def test_evaluate_scores_other_cases(finished: Path, data: Path, fedsurg: Fedsurg) -> None:
    code, out, _ = fedsurg("evaluate", finished, "--data", data, "--split", "val", "--json", "--device", "cpu")
    assert code == 0
    rows = json.loads(out)
    assert [(row["method"], row["site"], row["model"], row["cases"]) for row in rows] == [
        ("fedst", "east", "personal", 1),
        ("fedst", "harbour", "global", 1),
        ("fedst", "north", "personal", 1),
    ]
    assert all(0 <= row["iou"] <= 1 for row in rows)


def test_evaluate_into_a_pipe_cuts_no_column(finished: Path, data: Path, fedsurg: Fedsurg) -> None:
    code, out, _ = fedsurg("evaluate", finished, "--data", data, "--split", "val", "--device", "cpu")
    assert code == 0
    head, *rows = out.splitlines()
    for word in ("method", "personal", "iou_lineage", "dice_lineage"):
        assert word in head + rows[0]
    assert "…" not in out
    assert len(rows) == 3


def test_evaluate_without_such_a_split(finished: Path, data: Path, fedsurg: Fedsurg) -> None:
    code, _, err = fedsurg("evaluate", finished, "--data", data, "--split", "test", "--device", "cpu")
    assert code == 1
    assert "north: has no frames in split 'test'; choose --split all or another one" in err
    code, _, err = fedsurg("evaluate", finished, "--data", finished, "--device", "cpu")
    assert "holds no folder of a site of this run (north, east, harbour)" in err


def test_evaluate_before_anything_is_finished(finished: Path, data: Path, tmp_path: Path, fedsurg: Fedsurg) -> None:
    (tmp_path / "run.json").write_text((finished / "run.json").read_text())
    code, _, err = fedsurg("evaluate", tmp_path, "--data", data)
    assert code == 1
    assert err == f"fedsurg: {tmp_path}: no method has finished there; go on with fedsurg simulate --resume\n"


def test_evaluate_a_run_of_another_version(finished: Path, data: Path, tmp_path: Path, fedsurg: Fedsurg) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "runs" / "fedst").rename(run / "runs" / "oldmethod")
    code, _, err = fedsurg("evaluate", run, "--data", data)
    assert (code, err.count("\n")) == (1, 1)
    assert "this version has no method 'oldmethod'; move the folder away, or use the version that made the run" in err
    record = json.loads((run / "run.json").read_text())
    record["study"]["local"]["oldkey"] = 1
    (run / "run.json").write_text(json.dumps(record))
    code, _, err = fedsurg("evaluate", run, "--data", data)
    assert (code, err.count("\n")) == (StudyError.exit_code, 1)
    assert err.startswith(f"fedsurg: {run / 'run.json'}: local.oldkey: ")


def _members(group: int) -> list[int]:
    """Processes of a group that run, without those that only wait to be reaped."""
    found = [one for one in psutil.process_iter(["status"]) if one.info["status"] != psutil.STATUS_ZOMBIE]
    return [one.pid for one in found if _group(one.pid) == group]


def _group(process: int) -> int:
    try:
        return os.getpgid(process)
    except ProcessLookupError:
        return 0


@contextmanager
def _started(*words: str, stderr: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a process group of its own, of which nothing is left behind, even by a test that fails."""
    process = subprocess.Popen(_command(*words), stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from fedsurg.cli import main; main()", *words]


def _same_checkpoint(one: Path, two: Path) -> bool:
    first, second = (read_tensors(folder / "server" / "checkpoint.safetensors")[0] for folder in (one, two))
    return first.keys() == second.keys() and all(
        value.numpy().tobytes() == second[name].numpy().tobytes() for name, value in first.items()
    )

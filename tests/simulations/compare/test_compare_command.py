"""`fedsurg compare` from end to end, as a person types it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

Fedsurg = Callable[..., tuple[int, str, str]]


def test_a_comparison_leaves_tables_a_figure_and_a_page(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} >= {
        *(f"{name}.{kind}" for name in ("scores", "summary", "sites") for kind in ("csv", "parquet")),
        "figure.png",
        "figure.svg",
        "compare.html",
        "compare.json",
    }
    cells = {f"{method}-seed{seed}" for method in ("fedavg", "start") for seed in (3, 4)}
    assert {path.name for path in (finished / "cells").iterdir()} == cells
    assert not list(finished.rglob("personal.safetensors"))  # scores are kept, models are not
    out = (finished / "stdout.txt").read_text()
    assert f"page: {finished}/compare.html" in out
    assert "FedAvg" in out


def test_scores_have_a_row_per_cell_site_model_and_case(finished: Path) -> None:
    scores = pd.read_parquet(finished / "scores.parquet")
    rows = scores[["variant", "seed", "site", "role", "model", "case"]].itertuples(index=False)
    expected = {
        (method, seed, site, role, "global" if role == "unseen" or method == "start" else "personal", f"PATIENT-{case}")
        for method in ("fedavg", "start")
        for seed in (3, 4)
        for site, role, case in (
            ("north", "federated", "north-2"),
            ("east", "federated", "east-5"),
            ("harbour", "unseen", "harbour-7"),
        )
    }
    assert {tuple(row) for row in rows} == expected
    assert len(scores) == len(expected)
    assert len(pd.read_csv(finished / "scores.csv")) == len(expected)


def test_the_start_is_the_same_with_every_seed(finished: Path) -> None:
    scores = (
        pd.read_parquet(finished / "scores.parquet").set_index(["variant", "seed", "site"])["dice_lineage"].sort_index()
    )
    assert scores["start", 3].equals(scores["start", 4])
    assert not scores["fedavg", 3].equals(scores["fedavg", 4])


def test_the_page_may_be_shown_to_anyone(finished: Path, words: list[str]) -> None:
    page = (finished / "compare.html").read_text()
    assert "PATIENT" not in page
    for path in (str(finished), words[1], words[3], words[5], "/home", "/tmp"):
        assert path not in page
    assert "fedsurg compare tiny.toml --methods fedavg,start --seeds 2 --set evaluation.bootstrap=200" in page
    assert json.loads((finished / "compare.json").read_text())["digest"] in page


def test_methods_are_added_and_finished_cells_kept(
    finished: Path, words: list[str], tmp_path: Path, fedsurg: Fedsurg
) -> None:
    """A killed comparison is one with fewer finished cells: what is finished is not run again."""
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    shutil.rmtree(out / "cells" / "start-seed4")
    kept = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*/done.json")}
    assert len(kept) == 3
    code, shown, err = fedsurg(
        *words, "--out", out, "--resume", "--methods", "start", "--seeds", "2", "--set", "evaluation.bootstrap=200"
    )
    assert (code, err) == (0, "")
    assert "start-seed4: scored" in shown
    assert "fedavg" not in [line.partition("-seed")[0] for line in shown.splitlines() if ": scored" in line]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    pd.testing.assert_frame_equal(
        pd.read_parquet(out / "scores.parquet").sort_values(["variant", "seed", "site"], ignore_index=True),
        pd.read_parquet(finished / "scores.parquet").sort_values(["variant", "seed", "site"], ignore_index=True),
    )


@pytest.mark.slow
def test_ctrl_c_keeps_finished_cells(words: list[str], tmp_path: Path, fedsurg: Fedsurg) -> None:
    """Ctrl-C reaches every process of the terminal's group, as soon as the first cell is scored."""
    out, options = tmp_path / "out", ["--methods", "start,fedavg", "--seeds", "1"]
    first = out / "cells" / "start-seed3" / "done.json"
    with (tmp_path / "stderr").open("w") as errors:
        command = [sys.executable, "-c", "from fedsurg.cli import main; main()", *words, *options, "--out", str(out)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)
        deadline = time.monotonic() + 240
        while not first.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=120) == 130
    assert (tmp_path / "stderr").read_text() == (
        "fedsurg: stopped; every finished round is on disk, go on with --resume\n"
    )
    assert not (out / "compare.html").exists()
    before = first.stat().st_mtime_ns
    code, shown, _ = fedsurg(*words, *options, "--out", out, "--resume")
    assert code == 0
    assert "start-seed3" not in shown
    assert "fedavg-seed3: scored" in shown
    assert first.stat().st_mtime_ns == before
    assert (out / "compare.html").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "fedavgg"], "--methods: 'fedavgg' is unknown; did you mean 'fedavg'? known: all, "),
        (["--methods", ","], "--methods ',': names no method; give all, or some of "),
        (["--seeds", "0"], "--seeds 0: how many runs of each method; give 1 to 1000"),
        (["--seeds", "99999999999"], "--seeds 99999999999: how many runs of each method; give 1 to 1000"),
        (
            ["--leave-one-site-out", "--set", "evaluation.folds=2"],
            "--leave-one-site-out: leaves out sites instead of folds; leave out --set evaluation.folds",
        ),
        (
            ["--methods", "fedavg,start", "--reference", "fedst"],
            "--reference 'fedst': is not among the methods compared (fedavg, start); add it to --methods",
        ),
        (["--resume"], "--resume needs --out, the folder of the comparison to go on with"),
        (
            ["--set", "evaluation.folds=2", "--set", "evaluation.leave_one_site_out=true"],
            "folds is 2 and leave_one_site_out is true, but a run leaves out either cases or sites; set folds = 0",
        ),
    ],
)
def test_bad_input_is_one_line(words: list[str], fedsurg: Fedsurg, options: list[str], message: str) -> None:
    code, _, err = fedsurg(*words, *options)
    assert code
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_folder_of_another_study(finished: Path, words: list[str], fedsurg: Fedsurg) -> None:
    code, _, err = fedsurg(*words, "--out", finished, "--resume", "--set", "local.steps=2")
    assert code == 1
    assert "was started with study" in err
    assert len(err.splitlines()) == 1

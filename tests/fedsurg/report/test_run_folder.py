"""Reading runs: finished, half-finished, damaged."""

import json
from collections.abc import Callable
from math import isnan
from pathlib import Path

import pytest

from fedsurg.errors import RunError
from fedsurg.report.run_folder import Run

RunMaker = Callable[..., Path]


def test_a_finished_run_is_read_whole(finished_run: Path) -> None:
    run = Run.read(finished_run)
    assert run.methods == ["fedst", "fedavg", "local"]  # the study's order, not the alphabet's
    assert [(one.method, one.holdout.fold) for one in run.of("fedst")] == [("fedst", 0), ("fedst", 1)]
    assert len(run.runs[0].rounds) == 12
    assert run.runs[0].rounds[0].sites["north"].received is None
    assert run.info.real_sites == ["valley"]
    assert run.info.unseen == {"island"}
    assert run.runs[0].contract[0].parameters == 32 * 32


def test_a_method_name_with_a_hyphen_is_no_fold(run_maker: RunMaker) -> None:
    run = Run.read(run_maker(methods=("fedst-lite",), folds=0, rounds=1))
    assert [(one.method, one.holdout.fold) for one in run.runs] == [("fedst-lite", None)]


def test_nan_and_names_like_null_survive(run_maker: RunMaker) -> None:
    path = run_maker(folds=0, rounds=1)
    scores = path / "runs" / "fedst" / "scores.csv"
    scores.write_text(scores.read_text().replace(",north,", ",NA,").replace("north-case-1", "null"))
    table = Run.read(path).runs[0].scores
    assert table is not None
    assert "NA" in set(table["site"])
    assert "null" in set(table["case"])
    assert isnan(table.loc[(table["label"] == "clasper") & (table["frame"] == 2), "iou"].iloc[0])


def test_a_run_that_has_just_begun_has_no_methods(run_maker: RunMaker) -> None:
    run = Run.read(run_maker(methods=()))
    assert run.methods == []
    assert run.scores.empty


def test_a_round_cut_off_by_a_crash_is_left_out(run_maker: RunMaker) -> None:
    path = run_maker(folds=0, rounds=3, finished=False)
    history = path / "runs" / "fedst" / "history.jsonl"
    history.write_text(history.read_text()[:-40])
    assert len(Run.read(path).of("fedst")[0].rounds) == 2


def test_fields_of_another_version_are_passed_over(run_maker: RunMaker) -> None:
    path = run_maker(folds=0, rounds=1)
    info = json.loads((path / "run.json").read_text())
    info["study"]["task"]["novelty"] = 1
    (path / "run.json").write_text(json.dumps(info))
    assert Run.read(path).info.study.name == "demo"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("run.json", None, r"run\.json is missing, so this is no run's output; give the folder above runs/"),
        ("run.json", "{", r"run\.json: Invalid JSON.*the file is damaged"),
        (
            "run.json",
            '{"digest": "a", "study": {"name": "x"}}',
            r"run\.json: study\.federation: Field required",
        ),
        (
            "runs/fedst/history.jsonl",
            '{"round": 1}\n{"round": "two"}\n',
            r"history\.jsonl, line 2: round: Input should",
        ),
        ("runs/fedst/contract.json", '[{"name": "w"}]', r"contract\.json: 0\.part: Field required"),
        (
            "runs/fedst/scores.csv",
            "site,case\na,b\n",
            r"scores\.csv: the columns \['method', .*are missing; evaluate",
        ),
        ("runs/fedst/scores.csv", "", r"scores\.csv: is no table of scores"),
        ("run.json", b"\xff{}", r"run\.json: cannot be read \(.*utf-8.*the file is damaged"),
        ("runs/fedst/history.jsonl", b"\xff\n", r"history\.jsonl: cannot be read"),
    ],
)
def test_what_is_wrong_is_named(run_maker: RunMaker, file: str, content: str | bytes | None, message: str) -> None:
    path = run_maker(folds=0, rounds=1)
    if content is None:
        (path / file).unlink()
    else:
        (path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(RunError, match=message):
        Run.read(path)


def test_damaged_scores_are_named_with_their_line(run_maker: RunMaker) -> None:
    path = run_maker(folds=0, rounds=1)
    file = path / "runs" / "fedst" / "scores.csv"
    whole = file.read_text()
    lines = whole.splitlines()
    file.write_text("\n".join([*lines[:-1], lines[-1][:20]]))
    with pytest.raises(RunError, match=rf"scores\.csv, line {len(lines)}: is not whole; evaluate the run again"):
        Run.read(path)
    head, first, *rest = lines
    column = head.split(",").index("iou")
    fields = first.split(",")
    fields[column] = "high"
    file.write_text("\n".join([head, ",".join(fields), *rest]))
    with pytest.raises(RunError, match=r"scores\.csv: is no table of scores \(.*high"):
        Run.read(path)


def test_folders_of_others_are_no_methods(run_maker: RunMaker) -> None:
    path = run_maker(folds=0, rounds=1)
    (path / "runs" / ".ipynb_checkpoints").mkdir()
    (path / "runs" / "notes").mkdir()
    (path / "runs" / "notes" / "todo.txt").write_text("")
    assert Run.read(path).methods == ["fedst", "fedavg", "local"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere: no such folder; give the output folder"):
        Run.read(tmp_path / "nowhere")

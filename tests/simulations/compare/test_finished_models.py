"""`fedsurg compare --models-of`: what a comparison trained is scored otherwise, as if it had been trained anew."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

Fedsurg = Callable[..., tuple[int, str, str]]

OTHERWISE = [
    "--set=evaluation.scales=[1.0,2.0]",
    "--set=evaluation.decision='overlap'",
    "--set=evaluation.mean_query=true",
    "--set=evaluation.unseen_cases='all'",
]


def test_scores_are_those_of_training_anew(
    kept: Path, kept_methods: list[str], words: list[str], tmp_path: Path, fedsurg: Fedsurg
) -> None:
    anew, scored = tmp_path / "anew", tmp_path / "scored"
    assert fedsurg(*words, *kept_methods, *OTHERWISE, "--out", anew)[0] == 0
    code, shown, err = fedsurg(*words, *kept_methods, *OTHERWISE, "--models-of", kept, "--out", scored)
    assert (code, err) == (0, "")
    assert ": round" not in shown
    tables = [pd.read_parquet(folder / "scores.parquet") for folder in (anew, scored, kept)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[1]["iou_lineage"].equals(tables[2]["iou_lineage"])
    cases = [table.groupby("role")["case"].nunique().to_dict() for table in tables[1:]]
    assert cases[0]["unseen"] > cases[1]["unseen"]
    assert cases[0]["federated"] == cases[1]["federated"]
    assert "on all its cases" in (scored / "compare.html").read_text()
    name = "fedst-own-seed3"
    histories = [(folder / "cells" / name / "history.jsonl").read_bytes() for folder in (kept, scored)]
    assert histories[0] == histories[1]  # what its rounds cost is what they did cost
    assert not list(scored.rglob("*personal.safetensors"))


def test_what_cannot_be_scored_so_is_one_line_and_leaves_nothing(
    kept: Path, kept_methods: list[str], words: list[str], tmp_path: Path, fedsurg: Fedsurg
) -> None:
    out, bare, cut = tmp_path / "out", tmp_path / "bare", tmp_path / "cut"
    for copy in (bare, cut):
        shutil.copytree(kept, copy)
    shutil.rmtree(bare / "cells" / "local-seed3" / "server")
    (cut / "cells" / "start-seed3" / "done.json").unlink()
    other = json.loads((kept / "compare.json").read_text()) | {"start": "f" * 64}
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "compare.json").write_text(json.dumps(other))
    for folder, more, message in (
        (kept, ["--set", "local.steps=2"], "fedst-own-seed3: was trained by another study; give its study and its"),
        (kept, ["--set", "evaluation.every=2"], "of these keys of [evaluation]: scales, confidence, mirrored, "),
        (kept, ["--seeds", "2"], "fedst-own-seed4: has not finished, so it has no models to score"),
        (bare, [], "local-seed3: has no models; run that comparison with --keep-models"),
        (cut, [], "start-seed3: has not finished, so it has no models to score; finish that comparison first"),
        (foreign, [], "foreign: began with the start ffffffffffff, this command has "),
        (tmp_path / "nowhere", [], "nowhere: holds no comparison ("),
    ):
        code, _, err = fedsurg(*words, *kept_methods, *more, "--models-of", folder, "--out", out)
        assert code == 1
        assert message in err
        assert len(err.splitlines()) == 1
        assert not out.exists()

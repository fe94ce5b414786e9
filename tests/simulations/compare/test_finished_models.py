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


def test_stopped_it_goes_on_and_the_page_says_who_trained(
    kept: Path, kept_methods: list[str], words: list[str], tmp_path: Path, fedsurg: Fedsurg
) -> None:
    out, command = tmp_path / "out", [*words, *kept_methods, *OTHERWISE, "--out", tmp_path / "out"]
    assert fedsurg(*command, "--models-of", kept, "--keep-models")[0] == 0
    page = (out / "compare.html").read_text()
    assert "--models-of DIR" in page
    assert f"comparison <code>{json.loads((kept / 'compare.json').read_text())['digest']}</code>" in page
    assert str(kept) not in page
    scores = (out / "scores.csv").read_bytes()
    shutil.rmtree(out / "cells" / "local-seed3")
    code, shown, err = fedsurg(*command, "--models-of", kept, "--resume")
    assert (code, err) == (0, "")
    assert "local-seed3: scored" in shown
    assert "fedst-own-seed3: scored" not in shown
    assert (out / "scores.csv").read_bytes() == scores
    (origin,) = json.loads((out / "compare.json").read_text())["trained"]
    assert sorted(origin["cells"]) == sorted(path.name for path in (out / "cells").iterdir())
    code, _, err = fedsurg(*command, "--models-of", tmp_path / "gone", "--resume")
    assert (code, err) == (0, "")  # all is scored: nothing is asked of the other folder
    again = tmp_path / "again"
    code, _, err = fedsurg(*words, *kept_methods, "--models-of", out, "--out", again, "--set=evaluation.bootstrap=100")
    assert code == 1  # a cell that was scored without --keep-models has lost its own
    assert "local-seed3/server/global.safetensors: is missing; run that comparison with --keep-models" in err
    shutil.rmtree(out / "cells" / "local-seed3")
    assert fedsurg(*command, "--resume")[0] == 0  # that cell is trained here
    (origin,) = json.loads((out / "compare.json").read_text())["trained"]
    assert "local-seed3" not in origin["cells"]
    page, count = (out / "compare.html").read_text(), len(origin["cells"])
    assert f"whose models of {count} of {count + 1} cells were kept and are scored here" in page
    assert "Times are of the machines that trained, sites" in page
    assert (out / "scores.csv").read_bytes() == scores


def test_what_cannot_be_scored_so_is_one_line_and_leaves_nothing(
    kept: Path, kept_methods: list[str], words: list[str], tmp_path: Path, fedsurg: Fedsurg
) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(kept, tmp_path / name))

    bare, lost, cut, foreign, damaged = (copy(name) for name in ("bare", "lost", "cut", "foreign", "damaged"))
    shutil.rmtree(bare / "cells" / "start-seed3" / "server")
    shutil.rmtree(lost / "cells" / "local-seed3" / "sites" / "east")
    (cut / "cells" / "start-seed3" / "done.json").unlink()
    record = json.loads((kept / "compare.json").read_text())
    (foreign / "compare.json").write_text(json.dumps(record | {"start": "f" * 64}))
    (damaged / "compare.json").write_text("{}")
    ended = "has not run there to its end, so it has no models; go on there with --resume"
    out = tmp_path / "out"
    for folder, more, message in (
        (kept, ["--set", "local.steps=2"], "fedst-own-seed3: was trained by another study, or by another version of "),
        (kept, ["--set", "evaluation.every=2"], "of these keys of [evaluation]: unseen_cases, scales, confidence, "),
        (kept, ["--seeds", "2"], f"fedst-own-seed4: {ended}"),
        (kept, ["--ablate"], f"fedst-seed3: {ended}"),
        (bare, [], "start-seed3/server/global.safetensors: is missing; run that comparison with --keep-models"),
        (lost, [], "local-seed3/sites/east/personal.safetensors: is missing; run that comparison with --keep-models"),
        (cut, [], f"start-seed3: {ended}"),
        (foreign, [], "of its simulator that made them, or choose another --models-of\n"),
        (damaged, [], "damaged: holds no comparison ('study'); give the --out of fedsurg compare"),
        (tmp_path / "nowhere", [], "nowhere: holds no comparison ("),
    ):
        code, _, err = fedsurg(*words, *kept_methods, *more, "--models-of", folder, "--out", out)
        assert code == 1
        assert message in err
        assert len(err.splitlines()) == 1
        assert not out.exists()

"""Adaptation to unseen sites inside a job: what is scored beside the global model."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsurg.errors import DataError, StudyError
from fedsurg.learning import evaluate
from fedsurg.study import Study
from fedsurg.tensor_file import read_tensors
from simulations import adaptation as within_jobs
from simulations.evaluation import evaluate_run
from simulations.job import Job
from simulations.preparation import prepare
from simulations.run_job import run_job
from site_client import adaptation

SITES = [
    {"name": "east", "procedure": "robotic partial nephrectomy"},
    {"name": "north", "procedure": "laparoscopic cholecystectomy", "role": "unseen"},
]
SETTINGS: dict[str, Any] = {
    "sites": SITES,
    "federation__rounds": 1,
    "adaptation__enabled": True,
    "adaptation__steps": 1,
    "adaptation__check_every": 1,
}


def scored(job: Job) -> dict[str, list[dict[str, str]]]:
    """Rows of the unseen site by model."""
    with (job.folder / "scores.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["site"] == "north"]
    return {model: [row for row in rows if row["model"] == model] for model in dict.fromkeys(r["model"] for r in rows)}


def test_adapted_and_control_stand_beside_the_global_model(
    make_job: Callable[..., Job], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation, "_cross_validated", lambda *_: {0: 0.5, 1: 0.4})  # steps -> IoU of left-out cases
    job = make_job(**SETTINGS, adaptation__naive=True)
    run_job(job, lambda record: None, lambda: False)
    rows = scored(job)
    assert list(rows) == ["global", "adapted", "finetuned"]
    assert {row["case"] for found in rows.values() for row in found} == {"PATIENT-north-2"}
    facts = read_tensors(job.folder / "sites" / "north" / "adapted.safetensors")[1]
    assert facts["cases"] == ["PATIENT-north-0", "PATIENT-north-1"]
    assert not facts["changed"]  # the guard sees that a step makes it worse
    measured = [{key: row[key] for key in row if key != "model"} for row in rows["global"]]
    assert measured == [{key: row[key] for key in row if key != "model"} for row in rows["adapted"]]
    shared = read_tensors(job.folder / "server" / "global.safetensors")[0]
    tuned = read_tensors(job.folder / "sites" / "north" / "finetuned.safetensors")[0]
    assert not torch.equal(tuned["head.weight"], shared["head.weight"])
    run = tmp_path / "whole"
    (run / "runs").mkdir(parents=True)
    job.folder.rename(run / "runs" / "fedst")
    (run / "run.json").write_text(json.dumps({"study": job.study.resolved()}))
    table = evaluate_run(run, data, "val", "cpu")
    assert table[["site", "model"]].to_numpy().tolist() == [
        ["east", "personal"],
        ["north", "global"],
        ["north", "adapted"],
        ["north", "finetuned"],
    ]


def test_an_adapted_model_is_scored_at_its_magnification(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted = adaptation.adapt

    def enlarged(ward: adaptation.Ward) -> adaptation.Adapted:
        return replace(adapted(ward), magnification=2.0)

    monkeypatch.setattr(within_jobs, "adapt", enlarged)
    sizes, plain = [], evaluate.predictions

    def spied(network: Any, datasets: Any, *args: Any, **named: Any) -> Any:
        sizes.append((datasets[0].site.name, [one.size for one in datasets]))
        return plain(network, datasets, *args, **named)

    monkeypatch.setattr(evaluate, "predictions", spied)
    run_job(make_job(**SETTINGS), lambda record: None, lambda: False)
    *guard, east, shared, adapted_one = sizes
    assert {site for site, _ in guard} == {"north"}
    assert (east, shared) == (("east", [(64, 64)]), ("north", [(64, 64)]))
    assert adapted_one == ("north", [(64, 64), (128, 128)])


@pytest.mark.parametrize(
    ("method", "models"),
    [("fedavg", ["global", "finetuned"]), ("local", ["personal of east"]), ("start", ["global", "finetuned"])],
)
def test_where_there_is_nothing_to_adapt(make_job: Callable[..., Job], method: str, models: list[str]) -> None:
    job = make_job(method, **SETTINGS, adaptation__naive=True)
    run_job(job, lambda record: None, lambda: False)
    assert list(scored(job)) == models


def test_too_few_cases_are_found_before_anything_is_drawn(
    tiny_study: Callable[..., Study], data: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"site 'harbour' has 1 cases in split 'train', adaptation needs 2"):
        prepare(tiny_study(adaptation__enabled=True), data, tmp_path / "cache", "cpu", lambda _a, _b, _c: None)
    assert not (tmp_path / "cache").exists()


def test_a_control_without_an_adaptation(tiny_study: Callable[..., Study]) -> None:
    with pytest.raises(StudyError, match="adaptation: naive is the control of an adaptation; set enabled = true"):
        tiny_study(adaptation__naive=True)

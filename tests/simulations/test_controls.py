"""FedST's controls: each is one key of a study, and each runs from the start to scores."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsurg.models.network import network_of
from fedsurg.study import Study
from fedsurg.tensor_file import read_tensors, write_tensors
from simulations.bench import Bench
from simulations.job import Job
from simulations.run_job import run_job

MakeJob = Callable[..., Job]
ONE_SITE = [
    {"name": "north", "procedure": "laparoscopic cholecystectomy"},
    {"name": "harbour", "procedure": "laparoscopic hysterectomy", "role": "unseen"},
]
SERQ = {"serq_descriptor_loss", "target_variance", "serq_global_loss", "serq_distance"}


@pytest.fixture
def run(make_job: MakeJob) -> Callable[..., tuple[Job, dict[str, Any], dict[str, Tensor]]]:
    """One round of FedST with some keys changed: the job, the round's server facts, the server's checkpoint."""

    def make(start: Path | None = None, **options: Any) -> tuple[Job, dict[str, Any], dict[str, Tensor]]:
        job, records = make_job(federation__rounds=1, sites=ONE_SITE, **options), []
        job = replace(job, start=start or job.start)
        run_job(job, records.append, lambda: False)
        assert job.done
        assert not any(record["refused"] for record in records)
        return job, records[0]["server"], read_tensors(job.folder / "server" / "checkpoint.safetensors")[0]

    return make


def parts_of(job: Job) -> set[str]:
    return {str(entry.part) for entry in Bench(job).contract().entries}


def models_scored(job: Job) -> set[tuple[str, str]]:
    with (job.folder / "scores.csv").open() as file:
        return {(row["site"], row["model"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("part", ["gate", "adapters"])
def test_without_a_private_part(run: Callable[..., Any], part: str) -> None:
    job, facts, _ = run(**{f"network__{part}__enabled": False})
    assert parts_of(job) == {"encoder", "query", "temporal", "gate", "adapters", "decoder", "head"} - {part}
    assert set(facts) == SERQ
    assert models_scored(job) == {("north", "personal"), ("harbour", "global")}


def test_without_the_temporal_layer(
    run: Callable[..., Any], tiny_study: Callable[..., Study], start: Path, tmp_path: Path
) -> None:
    study = tiny_study(network__temporal__enabled=False)
    own, tensors = network_of(study).tensors(), read_tensors(start)[0]
    write_tensors(tmp_path / "start.safetensors", {name: tensors[name] for name in own}, {})
    assert len(own) < len(tensors)
    job, facts, _ = run(start=tmp_path / "start.safetensors", network__temporal__enabled=False)
    assert parts_of(job) == {"encoder", "query", "gate", "adapters", "decoder", "head"}
    assert set(facts) == SERQ


def test_a_gate_that_knows_a_number_alone(run: Callable[..., Any]) -> None:
    """`text = "onehot"`, and the two models that an unseen site can get."""
    job, _, _ = run(network__gate__text="onehot", evaluation__mean_query=True)
    assert Bench(job).vectors["harbour"].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert "gate" in parts_of(job)
    assert models_scored(job) == {("north", "personal"), ("harbour", "global"), ("harbour", "mean-query")}


@pytest.mark.parametrize("key", ["descriptor", "lambda_2"])
def test_without_a_domain_descriptor(run: Callable[..., Any], key: str) -> None:
    """D = 0 by decree, or as nothing teaches it: the pre-trained copy goes on learning, D stays zero."""
    changed = {f"server__serq__{key}": False if key == "descriptor" else 0.0}
    _, facts, state = run(server__serq__steps_descriptor=2, **changed)  # with D, it has moved after two
    assert set(facts) == SERQ
    assert not state["step/descriptor/vector"].any()
    assert not torch.equal(state["step/pre/head.weight"], state["step/ema/head.weight"])


def test_a_moving_average_of_features_in_place_of_weights(run: Callable[..., Any]) -> None:
    _, facts, state = run(server__serq__moving_average="features")
    assert set(facts) == SERQ
    assert state["step/ema/prototypes"].shape == (2, 32)
    assert [name for name in state if name.startswith("step/ema/")] == ["step/ema/prototypes"]
    assert state["step/descriptor/vector"].any()

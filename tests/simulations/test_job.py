"""Jobs: every method from the common start to scored frames; folds; which cases are scored."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsurg.errors import FedsurgError
from fedsurg.learning import evaluate
from fedsurg.methods import METHODS, plan
from fedsurg.report.html import write_report
from fedsurg.report.run_folder import Run
from fedsurg.report.tables import site_table
from fedsurg.study import Study
from fedsurg.study_file.holdout import Holdout
from fedsurg.tensor_file import read_tensors, write_tensors
from simulations.bench import Bench
from simulations.job import Job
from simulations.run_job import run_job
from simulations.scores import cases_to_score, models_for
from simulations.scoring import ScoredModel, score_site

MakeJob = Callable[..., Job]


def rows_of(job: Job) -> list[dict[str, str]]:
    with (job.folder / "scores.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("run_of", sorted(set(METHODS) - {"start", "fedst"}), indirect=True)
def test_every_method_runs_a_round(run_of: Any) -> None:
    job, records, method = run_of.job, run_of.rounds, run_of.job.method
    assert job.done
    assert [record["round"] for record in records] == [1, 2]
    assert list(records[0]["sites"]) == (["central"] if method == "central" else ["north", "east"])
    assert records[0]["refused"] == {}
    of_serq = {"serq_descriptor_loss", "target_variance", "serq_global_loss", "serq_distance"}
    assert set(records[0]["server"]) == {
        "fedavg-server": {"serq_global_loss"},
        "fedst-finetune": {"serq_global_loss"},
        "fedst-own": of_serq,
        "fedst-lite": of_serq,
    }.get(method, set())
    scored = {(row["site"], row["role"], row["model"]) for row in rows_of(job)}
    unseen = {("harbour", "unseen", "global")}
    if method == "local":
        unseen = {("harbour", "unseen", f"personal of {name}") for name in ("north", "east")}
    assert scored == unseen | {(name, "federated", "personal") for name in ("north", "east")}
    contract = json.loads((job.folder / "contract.json").read_text())
    shared = sum(row["bytes"] for row in contract if row["scope"] == "shared")
    assert shared <= records[0]["bytes_in"] <= 1.01 * shared + 3000
    assert (shared == 0) == (method == "local")
    assert json.loads((job.folder / "overlays" / "overlays.json").read_text())


def test_the_mean_query_on_the_unseen_site(straight: Any) -> None:
    """Only with the key, only where queries are private, only on unseen sites; nothing but the queries differs."""
    folder = straight.job.folder
    study = straight.job.study
    asked = study.model_copy(update={"evaluation": study.evaluation.model_copy(update={"mean_query": True})})
    benches = {on: Bench(replace(straight.job, study=chosen)) for on, chosen in ((False, study), (True, asked))}
    north, _, harbour = study.sites
    assert [model.name for model in models_for(benches[False], harbour)] == ["global"]
    assert [model.name for model in models_for(benches[True], north)] == ["personal"]
    usual, mean = models_for(benches[True], harbour)
    assert (usual.name, mean.name) == ("global", "mean-query")
    sites = [read_tensors(folder / "sites" / name / "personal.safetensors")[0] for name in ("north", "east")]
    contract = benches[True].contract()
    for name, value in mean.tensors.items():
        if name in contract.site:
            torch.testing.assert_close(value, (sites[0][name] + sites[1][name]) / 2)
            assert not torch.equal(value, usual.tensors[name])
        else:
            assert torch.equal(value, usual.tensors[name])
    assert {contract.site[name].part for name in mean.tensors if name in contract.site} == {"query"}
    shared = benches[True].job
    bench = Bench(replace(shared, study=asked.model_copy(update={"sharing": {"query": "shared"}})))
    assert [model.name for model in models_for(bench, harbour)] == ["global"]


def test_a_finished_run_is_scored_on_the_right_cases(straight: Any) -> None:
    cases = {(row["site"], row["case"]) for row in rows_of(straight.job)}
    assert cases == {
        ("north", "PATIENT-north-2"),  # no test split: its validation case
        ("east", "PATIENT-east-5"),  # the test case, not the validation case
        ("harbour", "PATIENT-harbour-7"),
    }
    frames = [(row["site"], row["case"], row["frame"], row["label"]) for row in rows_of(straight.job)]
    assert len(frames) == len(set(frames))


def test_rows_say_where_they_come_from(straight: Any) -> None:
    for row in rows_of(straight.job):
        assert (row["method"], row["fold"], row["seed"], row["simulated"]) == ("fedst", "", "3", "True")
        assert row["label"] in ("background", "shaft", "wrist", "clasper")


def test_no_case_is_in_the_servers_folder(straight: Any) -> None:
    names = [str(path) for path in (straight.folder / "server").rglob("*")]
    assert len(names) == 2
    for path in (straight.folder / "server").iterdir():
        assert b"PATIENT" not in path.read_bytes()
        assert "PATIENT" not in path.name


def test_each_case_is_left_out_once(make_job: MakeJob) -> None:
    held_out: dict[str, list[str]] = {"north": [], "harbour": []}
    for fold in range(3):
        bench = Bench(make_job(fold=fold, evaluation__folds=3))
        sites = {site.name: bench.data(site) for site in bench.study.sites if site.name in held_out}
        for name, site in sites.items():
            held_out[name] += site.cases("val")
        assert not set(sites["north"].cases("train")) & set(sites["north"].cases("val"))
        assert len(sites["north"].cases()) == 3
    assert sorted(held_out["north"]) == [f"PATIENT-north-{number}" for number in (0, 1, 2)]
    assert held_out["harbour"] == ["PATIENT-harbour-7"] * 3  # an unseen site trains nobody


@pytest.mark.parametrize("cases", ["held_out", "all"])
def test_a_site_that_trains_nothing_may_be_scored_on_all_its_cases(make_job: MakeJob, cases: str) -> None:
    bench = Bench(make_job(evaluation__unseen_cases=cases))
    for site in bench.study.sites:
        data, scored = bench.data(site), cases_to_score(bench, site)
        everything = site.role == "unseen" and cases == "all"
        expected = data.cases() if everything else data.cases("test") or data.cases("val")
        assert (scored.cases("test") or scored.cases("val")) == expected
        assert bool(scored.cases("train")) == (site.role == "federated")


def test_no_fold_takes_anything_from_a_site_that_trains_nothing(make_job: MakeJob) -> None:
    scored = []
    for folds in (0, 2):
        bench = Bench(make_job("fedavg", evaluation__folds=folds))
        (site,) = bench.study.unseen
        scored.append(set(cases_to_score(bench, site).split("test")["case"]))
        assert not len(cases_to_score(bench, site).split("val"))
    assert scored[0] == scored[1]


def test_without_a_shared_tensor_there_is_no_global_model(make_job: MakeJob, tmp_path: Path) -> None:
    """Gate and adapters, which FedAvg has not, are shared by its row."""
    private = {f"sharing__{part}": "site" for part in ("encoder", "query", "temporal", "decoder", "head")}
    bench = Bench(make_job("fedavg", **private))
    for name in bench.owners:
        write_tensors(bench.job.folder / "sites" / name / "personal.safetensors", {"a": torch.zeros(1)}, {})
    (bench.job.folder / "contract.json").write_text(json.dumps(bench.contract().rows()))
    (site,) = bench.study.unseen
    assert [model.name for model in models_for(bench, site)] == [f"personal of {name}" for name in bench.owners]


def test_names_and_digests_of_folds_differ(make_job: MakeJob) -> None:
    jobs = [make_job(), make_job(fold=0), make_job(fold=1), make_job("fedavg"), make_job(seed=4)]
    assert len({Bench(job).digest for job in jobs}) == 5
    assert [job.name for job in jobs[:3]] == ["fedst", "fedst-fold0", "fedst-fold1"]


def test_a_left_out_site_is_scored_apart(
    tiny_study: Callable[..., Study], job_in: Callable[..., Job], tmp_path: Path
) -> None:
    """The report keeps the rows in which a site trained from those in which it did not."""
    options = {"evaluation__leave_one_site_out": True, "federation__rounds": 1, "methods": ["fedavg", "local"]}
    study, holdout = tiny_study(**options), Holdout(site="east")
    for method in study.methods:
        job = job_in(tmp_path / "runs" / f"{method}{holdout}", method, **options)
        run_job(
            replace(job, study=holdout.study(study), title=f"{method}{holdout}"), lambda record: None, lambda: False
        )
    info = {"study": study.resolved(), "digest": "d", "simulated_sites": ["north", "east", "harbour"]}
    (tmp_path / "run.json").write_text(json.dumps(info))
    run = Run.read(tmp_path)
    assert [(one.method, one.holdout) for one in run.runs] == [("fedavg", holdout), ("local", holdout)]
    assert {picture.site for picture in run.runs[0].overlays} == {"east, left out"}
    table = site_table(run).query("headline")
    assert [(row["method"], row["site"], row["role"], row["model"]) for _, row in table.iterrows()] == [
        ("fedavg", "north", "federated", "personal"),
        ("fedavg", "east, left out", "unseen", "global"),
        ("fedavg", "harbour", "unseen", "global"),
        ("local", "north", "federated", "personal"),
        ("local", "east, left out", "unseen", "personal of north"),
        ("local", "harbour", "unseen", "personal of north"),
    ]
    assert run.info.real_sites == []
    assert "each left out once" in write_report(tmp_path).read_text()


def test_a_site_called_central_keeps_its_own_model(make_job: MakeJob, data: Path) -> None:
    sites = [{"name": name, "procedure": "any"} for name in ("central", "north")]
    job = make_job("local", sites=sites)
    for number, name in enumerate(("central", "north")):
        write_tensors(job.folder / "sites" / name / "personal.safetensors", {"a": torch.tensor(number)}, {})
    bench = Bench(job)
    assert [models_for(bench, site)[0].tensors["a"].item() for site in bench.study.sites] == [0, 1]


def test_a_site_that_failed_at_the_end_costs_only_itself(
    make_job: MakeJob, own_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for line in (own_data / "north" / "manifest.csv").read_text().splitlines():
        if ",val," in line:
            (own_data / "north" / line.split(",")[0]).write_bytes(b"no picture")
    job, records = make_job(hospitals=own_data), []
    run_job(job, records.append, lambda: False)
    assert job.done
    assert list(records[-1]["refused"]) == ["node 10"]
    assert {row["site"] for row in rows_of(job)} == {"east", "harbour"}
    assert "fedst: north has no model of its own and is not scored" in caplog.text


def test_the_test_split_comes_before_the_validation_split(make_job: MakeJob, start: Path) -> None:
    bench = Bench(make_job("fedavg"))
    model = ScoredModel("global", read_tensors(start)[0])
    sites = {site.name: bench.data(site) for site in bench.study.sites}
    for name, case in (("east", "PATIENT-east-5"), ("north", "PATIENT-north-2")):
        scored = score_site(plan(bench.study, "fedavg"), sites[name], model, torch.device("cpu"))
        assert {row["case"] for row in scored.rows} == {case}
        assert scored.pictures == []


TWO_SIZES = {"evaluation__scales": [1.0, 1.5]}


@pytest.mark.parametrize(
    ("fewer", "views"),
    [
        ({}, TWO_SIZES),
        ({}, {"evaluation__mirrored": True}),
        (TWO_SIZES, TWO_SIZES | {"evaluation__confidence": 100.0}),
    ],
)
def test_frames_are_scored_at_the_studys_views(
    make_job: MakeJob, start: Path, fewer: dict[str, Any], views: dict[str, Any]
) -> None:
    scores = []
    for options in (fewer, views):
        bench = Bench(make_job("start", **options))
        model, site = ScoredModel("global", read_tensors(start)[0]), bench.data(bench.study.sites[0])
        rows = score_site(bench.plan, site, model, torch.device("cpu")).rows
        scores.append({(row["case"], row["frame"], row["label"]): row["dice"] for row in rows})
    assert scores[0].keys() == scores[1].keys()
    assert scores[0] != scores[1]


def test_a_personal_model_is_scored_at_the_magnification_it_was_trained_at(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shared model sees the unseen site's frames at the study's size, however small its instruments are."""
    job = make_job("fedst-own", federation__rounds=1, local__steps=1, local__magnification__apparent_width=1.0)
    sizes: dict[str, set[tuple[int, int]]] = {}
    plain = evaluate.predictions

    def spied(network: Any, datasets: Any, *args: Any, **named: Any) -> Any:
        sizes.setdefault(datasets[0].site.name, set()).update(one.size for one in datasets)
        return plain(network, datasets, *args, **named)

    monkeypatch.setattr(evaluate, "predictions", spied)
    run_job(job, lambda record: None, lambda: False)
    both = {(64, 64), (128, 128)}
    assert sizes == {"north": both, "east": both, "harbour": {(64, 64)}}


def test_what_the_start_lacks_cannot_be_shared(make_job: MakeJob) -> None:
    job = make_job(sharing={"adapters": "shared"})
    with pytest.raises(FedsurgError, match=r"lora_A.* is shared, but the start does not have it; only parts"):
        run_job(job, lambda record: None, lambda: False)

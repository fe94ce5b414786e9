"""The jobs of a comparison: controls run from the common start, finished cells of other settings are refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from math import isnan
from pathlib import Path

import pytest

from fedsurg.errors import RunError, StudyError
from fedsurg.metrics.summary import COLUMNS
from fedsurg.study import Study
from fedsurg.tensor_file import read_tensors, write_tensors
from simulations.compare.collect import collect
from simulations.compare.plan import Plan
from simulations.compare.run import (
    CELLS,
    Options,
    _check_start,
    _joined,
    _made_with,
    _record,
    _take_finished,
    jobs_of,
    read_record,
)
from simulations.compare.summary import summarise
from simulations.job import job_digest
from simulations.preparation import Prepared
from simulations.run_folder import inputs_of_run
from simulations.run_job import run_job

MakeStudy = Callable[..., Study]


@pytest.fixture
def prepared(data: Path, synthetic: Path, start: Path, tiny_study: MakeStudy) -> Prepared:
    sites = {site.name: data / site.name for site in tiny_study().sites}
    return Prepared(sites, list(sites), synthetic, start)


def test_controls_begin_at_the_common_start(
    tiny_study: MakeStudy, prepared: Prepared, start: Path, tmp_path: Path
) -> None:
    plan = Plan(tiny_study(federation__rounds=1, evaluation__bootstrap=100), (), True, 1)
    jobs = {
        job.name: job for job in jobs_of(plan, Options(out=tmp_path, cache=tmp_path / "cache", device="cpu"), prepared)
    }
    common, reduced = (read_tensors(jobs[name].start)[0] for name in ("fedst-seed3", "no-temporal-seed3"))
    assert jobs["no-gate-seed3"].start == start
    assert reduced.keys() == {name for name in common if not name.startswith("temporal")}
    assert all(reduced[name].equal(common[name]) for name in reduced)
    chosen = ("no-temporal", "no-server-step")
    for name in chosen:
        run_job(jobs[f"{name}-seed3"], lambda record: None, lambda: False)
        folder = tmp_path / CELLS / f"{name}-seed3"
        assert {path.name for path in folder.iterdir()} == {
            "contract.json",
            "done.json",
            "history.jsonl",
            "overlays",
            "scores.csv",
        }
    collected = collect(plan, tmp_path / CELLS)
    assert set(collected.scores["variant"]) == set(chosen)
    summary = summarise(plan, collected)
    assert list(summary.of("ablations")["variant"]) == list(chosen)
    assert summary.references == {"ablations": "no-temporal"}  # FedST itself has not run
    assert summary.of("ablations")["bytes_sent"].is_monotonic_increasing  # a temporal layer is sent too
    with pytest.raises(RunError, match="no cell has finished there; go on with --resume"):
        collect(Plan(tiny_study(), ("local",), False, 1), tmp_path / CELLS)


def test_other_models_of_an_unseen_site_are_rows_of_their_own(
    tiny_study: MakeStudy, prepared: Prepared, tmp_path: Path
) -> None:
    """The study makes the mean-query model itself, so the control reads the cell of FedST; nobody adapts anything."""
    study = tiny_study(federation__rounds=1, evaluation__bootstrap=100, evaluation__mean_query=True)
    plan = Plan(study, (), True, 1)
    jobs = {
        job.name: job for job in jobs_of(plan, Options(out=tmp_path, cache=tmp_path / "cache", device="cpu"), prepared)
    }
    assert not {"mean-query-seed3", "adapted-seed3", "finetuned-seed3"} & jobs.keys()
    run_job(jobs["fedst-seed3"], lambda record: None, lambda: False)
    table = summarise(plan, collect(plan, tmp_path / CELLS)).of("ablations").set_index("variant")
    assert list(table.index) == ["fedst", "onehot-gate", "mean-query"]  # the tiny study's gate is one-hot already
    assert isnan(table.loc["mean-query", "federated"])
    assert not isnan(table.loc["mean-query", "unseen"])
    assert table.loc["mean-query", "unseen_difference"] == pytest.approx(
        table.loc["mean-query", "unseen"] - table.loc["fedst", "unseen"]
    )


def test_only_open_cells_are_run(tiny_study: MakeStudy, prepared: Prepared, tmp_path: Path) -> None:
    plan, options = Plan(tiny_study(), ("fedavg", "local"), False, 1), Options(out=tmp_path, cache=tmp_path / "cache")
    first, second = jobs_of(plan, options, prepared)
    second.folder.mkdir(parents=True)
    done = second.folder / "done.json"
    done.write_text(json.dumps({"digest": job_digest(second), "start": "start.safetensors"}))
    assert [job.done for job in (first, second)] == [False, True]
    _take_finished(plan, options, prepared)
    for content, message in (
        ('{"digest": "of other settings", "start": ""}', "local-seed3: was finished with other settings"),
        ('{"digest": ', r"local-seed3/done.json: is damaged \("),
        ('{"digest": "without a start"}', r"local-seed3/done.json: is damaged \('start'\)"),
    ):
        done.write_text(content)
        with pytest.raises(RunError, match=message):
            _take_finished(plan, options, prepared)
    (second.folder / "scores.csv").write_text(",".join(COLUMNS) + "\n")
    facts = {"digest": job_digest(second), "start": "start.safetensors"}
    done.write_text(json.dumps(facts))
    with pytest.raises(RunError, match=r"scores\.csv: holds no scores, though the cell is finished"):
        collect(plan, tmp_path / CELLS)


def test_scores_that_were_cut_are_not_taken_for_whole(finished: Path, tmp_path: Path) -> None:
    """Without its last line a table is still a table."""
    folder = Path(shutil.copytree(finished, tmp_path / "cut"))
    plan = _joined(Plan(Study.model_validate(read_record(folder)["study"]), (), False, 1), read_record(folder))
    whole = collect(plan, folder / CELLS)
    scores = next((folder / CELLS).glob("*/scores.csv"))
    scores.write_text("".join(scores.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(
        RunError, match=r"scores\.csv: was changed or cut, though the cell is finished; delete its folder"
    ):
        collect(plan, folder / CELLS)
    assert len(whole.scores)


@pytest.mark.parametrize("keep", [False, True])
def test_what_a_cell_died_before_removing_goes_with_the_next_command(
    tiny_study: MakeStudy, prepared: Prepared, tmp_path: Path, keep: bool
) -> None:
    plan, options = Plan(tiny_study(), ("local",), False, 1), Options(out=tmp_path, cache=tmp_path / "cache")
    (cell,) = jobs_of(plan, options, prepared)
    (cell.folder / "sites" / "north").mkdir(parents=True)
    facts = {"digest": job_digest(cell), "start": "start.safetensors", "keep_models": keep}
    (cell.folder / "done.json").write_text(json.dumps(facts))
    _take_finished(plan, options, prepared)
    assert (cell.folder / "sites").exists() == keep


def test_a_folder_keeps_to_one_start_and_one_set_of_pictures(prepared: Prepared, tmp_path: Path) -> None:
    record, other = tmp_path / "compare.json", tmp_path / "other.safetensors"
    with_video = replace(prepared, synthetic=next(iter(prepared.sites.values())))
    inputs = inputs_of_run(record, with_video)
    assert inputs["start"] == read_tensors(prepared.start)[1]["digest"]
    record.write_text(json.dumps(inputs))
    assert inputs_of_run(record, with_video) == inputs_of_run(record, replace(prepared, synthetic=None)) == inputs
    write_tensors(other, {}, {"digest": "f" * 64})
    said = f"began with the start {inputs['start'][:12]}, this command has ffffffffffff.* choose another --out$"
    with pytest.raises(RunError, match=said):
        inputs_of_run(record, replace(prepared, start=other))

    name, folder = next(iter(prepared.sites.items()))
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    assert inputs_of_run(record, replace(with_video, sites=prepared.sites | {name: moved})) == inputs
    (moved / "simulator.json").write_text('{"simulator": 10}')  # another version draws others under the same names
    with pytest.raises(RunError, match=f"began with data of sites {inputs['data'][:12]}, this command has"):
        inputs_of_run(record, replace(prepared, sites=prepared.sites | {name: moved}))
    with pytest.raises(RunError, match=f"began with synthetic video {inputs['video'][:12]}, this command has"):
        inputs_of_run(record, replace(prepared, synthetic=moved))


def test_seeds_of_an_encoder_with_batch_statistics_need_its_weights(tiny_study: MakeStudy) -> None:
    """Statistics of random weights come from the seed, and the start, of another seed, does not hold them."""
    study = tiny_study(network__encoder="swiftformer_xs")
    _check_start(study, 1)
    _check_start(tiny_study(), 3)
    with pytest.raises(StudyError, match=r"network\.encoder: swiftformer_xs keeps batch statistics.*--seeds 1$"):
        _check_start(study, 2)


def test_a_folder_remembers_all_that_was_run_in_it(tiny_study: MakeStudy, prepared: Prepared, tmp_path: Path) -> None:
    first = Plan(tiny_study(), ("fedavg",), False, 3)
    made = _made_with(Options(out=tmp_path, cache=tmp_path / "cache", jobs=7), prepared)
    record = _record(first, {}, "fedsurg compare tiny.toml") | made
    (tmp_path / "compare.json").write_text(json.dumps(record))
    old = read_record(tmp_path)
    whole = _joined(Plan(tiny_study(), (), True, 1), old)
    record = _record(whole, old, "fedsurg compare --ablate")
    assert (record["jobs"], record["machine"]) == (7, made["machine"])  # of the command that ran the cells
    assert (whole.methods, whole.ablate, whole.seeds) == (("fedavg",), True, 3)
    assert record["commands"] == ["fedsurg compare tiny.toml", "fedsurg compare --ablate"]
    assert _joined(Plan(tiny_study(), ("local",), False, 1, "fedavg"), old).reference == "fedavg"
    assert _joined(Plan(tiny_study(), ("local",), False, 1), old | {"reference": "fedavg"}).reference == "fedavg"
    with pytest.raises(RunError, match=r"--reference 'ditto': is not among the methods compared \(fedavg, local\)"):
        _joined(Plan(tiny_study(), ("local",), False, 1, "ditto"), old)
    with pytest.raises(RunError, match="holds method 'fedgone', which this version has not"):
        _joined(first, old | {"methods": ["fedgone"]})
    with pytest.raises(RunError, match="holds no comparison"):
        read_record(tmp_path / "elsewhere")

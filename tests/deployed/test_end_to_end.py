"""The whole of it: processes, TLS, policy, vault and audit log, against the inline engine's numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsurg.study_file.load import load_study
from fedsurg.tensor_file import read_tensors
from simulations.job import Job
from simulations.loopback import Loopback
from simulations.preparation import start_of
from simulations.run_job import run_job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SAME = 1e-6  # largest difference of a value of the shared model to the inline engine's


@pytest.fixture(scope="module")
def finished(federation: Loopback, write_study: Callable[..., Any]) -> Any:
    """A study of two rounds that all three hospitals have approved and that has run to its end."""
    paper = write_study("whole", federation__quorum="3")
    federation.approve(paper.file)
    done = federation.run(paper.file)
    assert done.returncode == 0, done.stderr + federation.output("coordinator")
    return paper


def test_the_shared_model_is_the_inline_engines(
    federation: Loopback, finished: Any, data: Path, synthetic: Path, tmp_path: Path
) -> None:
    study = load_study(finished.file)
    sites = {site.name: data / site.name for site in study.sites}
    start = start_of(study, tmp_path, "cpu", lambda _what, _done, _total: None)
    job = Job(study, "fedst", None, tmp_path / "inline", sites, synthetic, start, device="cpu")
    run_job(job, lambda record: None, lambda: False)
    deployed, _ = read_tensors(federation.run_folder(finished.digest) / "server" / "checkpoint.safetensors")
    inline, _ = read_tensors(tmp_path / "inline" / "server" / "checkpoint.safetensors")
    shared = [name for name in inline if name.startswith("shared/")]
    assert shared and set(deployed) == set(inline)
    for name in shared:
        assert np.abs(deployed[name].numpy() - inline[name].numpy()).max() <= SAME, name


def test_people_see_a_finished_run(federation: Loopback, finished: Any) -> None:
    status = json.loads(federation.command("server", "status", "--json", "--dir", federation.coordinator).stdout)
    (run,) = [run for run in status["runs"] if run["study"] == finished.digest]
    assert (run["state"], run["round"], run["rounds"]) == ("finished", 2, 2)
    assert set(run["sites"]) == set(federation.sites)


def test_both_ends_keep_an_account_that_holds(federation: Loopback, finished: Any, tmp_path: Path) -> None:
    for name in federation.sites:
        heads = tmp_path / f"{name}.jsonl"
        federation.command("server", "audit", "heads", name, "--out", heads, "--dir", federation.coordinator)
        assert heads.read_text().count("\n") >= 2
        federation.command("site", "audit", "verify", "--heads", heads, "--dir", federation.site(name))
    federation.command("server", "audit", "verify", "--dir", federation.coordinator)


def test_a_hospital_gets_its_own_model(federation: Loopback, finished: Any, tmp_path: Path) -> None:
    out = tmp_path / "model"
    federation.command("site", "export", "--study", finished.digest, "--out", out, "--dir", federation.site("north"))
    tensors, _ = read_tensors(out / "model.safetensors")
    shared, _ = read_tensors(federation.run_folder(finished.digest) / "global.safetensors")
    assert any(name not in shared or not np.array_equal(tensors[name], shared[name]) for name in tensors)


def test_nothing_of_a_hospital_lies_at_the_coordinator(federation: Loopback, finished: Any, data: Path) -> None:
    secrets = [b"PATIENT-", str(data).encode(), str(federation.folder / "hospitals").encode()]
    files = [path for path in federation.coordinator.rglob("*") if path.is_file() and not path.is_symlink()]
    found = {(path.name, secret) for path in files for secret in secrets if secret in path.read_bytes()}
    assert len(files) > 20
    assert not found


def test_a_hospital_that_takes_part_is_in_order(federation: Loopback, finished: Any) -> None:
    done = federation.command("site", "doctor", "--json", "--dir", federation.site("north"), check=False)
    todo = [line for line in json.loads(done.stdout)["checks"] if not line["ok"]]
    assert not todo, todo
    status = json.loads(federation.command("site", "status", "--json", "--dir", federation.site("north")).stdout)
    assert {one["state"] for one in status["processes"].values()} == {"running"}

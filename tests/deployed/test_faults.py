"""What people see when things break, with real processes: `make faults`. A table of it is printed at the end.

Each case begins a study of its own at three hospitals that are up, breaks something, and says what became of it. Short
forms of the cases, without processes, stand beside the modules that they are about.
"""

import json
import os
import shutil
import signal
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

from fedsurg.methods.facts import facts_of
from fedsurg.sharing.protocol import REPORT, REQUEST, UPDATE, VECTOR, Report
from fedsurg.study_file.load import load_study
from simulations.loopback import Loopback, wait_for
from simulations.thin_site import ThinSite, echo
from site_client.approvals import Approvals

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

FINISH_S = 400.0
Add = Callable[..., None]


@pytest.fixture
def play(federation: Loopback, write_study: Callable[..., Any], table: Add) -> Callable[..., "Play"]:
    """Begin a study that all hospitals have approved; keyword arguments as for `write_study`."""

    def begin(name: str, *, approve: tuple[str, ...] | None = None, run: bool = True, **lines: str) -> Play:
        usual = {"rounds": "3", "quorum": "2", "deadline_s": "60.0"}
        paper = write_study(name, **{f"federation__{key}": value for key, value in usual.items()} | lines)
        for site in federation.sites if approve is None else approve:
            approve_at(federation.site(site), paper.file)
        found = Play(federation, paper, table)
        if run:
            found.begin()
        return found

    return begin


class Play:
    """A run, and what is asked about it."""

    def __init__(self, federation: Loopback, paper: Any, table: Add) -> None:
        self.federation, self.paper, self._table = federation, paper, table

    def begin(self, *options: str) -> None:
        done = self.federation.run(self.paper.file, "--detach", *options)
        assert done.returncode == 0, done.stderr

    @property
    def status(self) -> dict[str, Any]:
        folders = list((self.federation.coordinator / "runs").glob(f"*-{self.paper.digest[:12]}"))
        found: dict[str, Any] = json.loads((folders[0] / "status.json").read_text()) if folders else {}
        return found or {"state": "none", "round": 0}

    @property
    def folder(self) -> Path:
        return self.federation.run_folder(self.paper.digest)

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "history.jsonl").read_text().splitlines()]

    def after(self, number: int, timeout_s: float = FINISH_S) -> None:
        """Wait until round `number` is finished."""
        wait_for(lambda: self.status["round"] >= number, timeout_s, f"round {number} is not finished: {self.status}")

    def working(self, site: str) -> None:
        """Wait until the site's worker works."""
        path = self.federation.site(site) / "run" / "worker.json"
        wait_for(lambda: json.loads(path.read_text())["state"] == "working", FINISH_S, f"{site} does not work", 0.02)

    def ends(self, state: str = "finished", timeout_s: float = FINISH_S) -> float:
        """Wait until the run is in the state; how long it took."""
        final = ("finished", "failed", "paused")
        waited = wait_for(lambda: self.status["state"] in final, timeout_s, f"the run does not end: {self.status}")
        assert self.status["state"] == state, self.status
        return waited

    def used(self, site: str) -> list[int]:
        """Rounds in which the site's reply was used."""
        return [record["round"] for record in self.history if site in record["sites"]]

    def refusals(self, site: str) -> list[str]:
        """Why the site's replies were not used."""
        return [record["refused"][site] for record in self.history if site in record["refused"]]

    def tells(self, case: str, seen: str, recovered_s: float | None = None) -> None:
        """A row of the table."""
        status = self.status
        final = f"{status['state']}, round {status['round']} of {status['rounds']}"
        self._table(case, seen or status["why"], final, recovered_s)


def test_a_worker_killed_in_the_middle_of_a_round(federation: Loopback, play: Callable[..., Play]) -> None:
    run = play("worker-killed", local__steps="60")
    run.working("north")
    restarts = federation.processes("north")["worker"]["restarts"]
    federation.kill("north", "worker")
    back = wait_for(lambda: up(federation, "north", "worker", restarts), 120.0, "the worker is not back")
    run.ends()
    assert run.used("north") == [1, 2, 3, 4]
    run.tells("worker killed in the middle of a round", "asked again when it is back; no round without it", back)


def test_a_supernode_killed_and_restarted_at_once(federation: Loopback, play: Callable[..., Play]) -> None:
    run = play("node-killed", federation__rounds="12", federation__deadline_s="30.0")
    run.after(1)
    federation.kill("north", "node")
    started = time.monotonic()
    wait_for(lambda: bool(run.used("north")) and run.used("north")[-1] > 4, FINISH_S, "north is not back")
    back = time.monotonic() - started
    run.ends()
    assert len(run.history) == 13
    run.tells("SuperNode killed, restarted at once", first(run.refusals("north"), "no round without it"), back)


def test_a_hospital_stopped_for_three_rounds(federation: Loopback, play: Callable[..., Play]) -> None:
    run = play("hospital-away", federation__rounds="9", federation__deadline_s="20.0")
    run.after(1)
    federation.stop_end("north")
    run.after(5)
    federation.start_site("north")
    back = wait_for(lambda: run.used("north")[-1] > 5, FINISH_S, "north is not back")
    run.ends()
    away = sorted(set(range(1, 10)) - set(run.used("north")))
    assert len(away) >= 3
    run.tells("hospital stopped for three rounds", f"rounds {away[0]}-{away[-1]} without it; it catches up", back)


@pytest.mark.parametrize("seconds", [10, 90])
def test_a_superlink_that_is_gone(federation: Loopback, play: Callable[..., Play], seconds: int) -> None:
    run = play(f"superlink-{seconds}", federation__rounds="4")
    run.after(1)
    supervisor = federation.pid("coordinator")
    os.kill(supervisor, signal.SIGSTOP)
    try:
        federation.kill("coordinator", "superlink")
        time.sleep(seconds)
    finally:
        os.kill(supervisor, signal.SIGCONT)
    before = run.status["round"]
    back = wait_for(lambda: run.status["round"] > before, FINISH_S, "no round is finished")
    run.ends()
    assert [record["round"] for record in run.history] == [1, 2, 3, 4, 5]
    run.tells(f"SuperLink gone for {seconds} s", "the run goes on by itself; no round is lost", back)


def test_a_serverapp_killed_between_aggregation_and_checkpoint(
    federation: Loopback, play: Callable[..., Play], faults: Path
) -> None:
    run = play("checkpoint")
    run.after(1)
    (faults / "kill-before-checkpoint").touch()
    wait_for(lambda: not (faults / "kill-before-checkpoint").exists(), FINISH_S, "no checkpoint was written")
    before = run.status["round"]
    back = wait_for(lambda: run.status["round"] > before, FINISH_S, "no round is finished")
    run.ends()
    assert [record["round"] for record in run.history] == [1, 2, 3, 4]
    run.tells("ServerApp killed before its checkpoint", "the round is asked again; sites go back to before it", back)


@pytest.mark.parametrize("process", ["gateway", "superexec", "keeper", ""])
def test_another_process_of_the_coordinator_killed(
    federation: Loopback, play: Callable[..., Play], process: str
) -> None:
    run = play(f"{process or 'supervisor'}-killed", federation__rounds="4")
    run.after(1)
    federation.kill("coordinator", process)
    if not process:
        federation.stop_end("coordinator")
        federation.start_coordinator()
    before = run.status["round"]
    back = wait_for(lambda: run.status["round"] > before, FINISH_S, "no round is finished")
    run.ends()
    run.tells(f"{process or 'supervisor of the coordinator'} killed", "the run goes on by itself", back)


def test_a_site_that_sends_nonsense(federation: Loopback, play: Callable[..., Play]) -> None:
    federation.stop_end("harbour")
    thin = ThinSite(federation.site("harbour"), nonsense)
    thin.start()
    try:
        run = play("nonsense", federation__rounds="4", federation__quorum="2")
        run.ends()
    finally:
        thin.stop()
        federation.start_site("harbour")
    assert run.used("harbour") == [4, 5]
    assert len(run.refusals("harbour")) == 3
    for case, why in zip(("NaN", "wrong shapes", "a negative count"), run.refusals("harbour"), strict=True):
        run.tells(f"a site sends {case}", why)


def test_a_straggler_past_the_deadline(federation: Loopback, play: Callable[..., Play]) -> None:
    run = play("straggler", federation__rounds="6", federation__deadline_s="30.0", local__steps="60")
    run.working("north")
    worker = federation.processes("north")["worker"]["pid"]
    os.kill(worker, signal.SIGSTOP)
    try:
        run.after(2)
    finally:
        os.kill(worker, signal.SIGCONT)
    back = wait_for(lambda: bool(run.used("north")), FINISH_S, "north is not back")
    run.ends()
    run.tells("one straggler past the deadline", first(run.refusals("north"), ""), back)


def test_a_full_disk_at_a_site(federation: Loopback, play: Callable[..., Play], faults: Path) -> None:
    run = play("full-site", federation__rounds="5", federation__deadline_s="30.0")
    run.after(1)
    (faults / "full-north").touch()
    run.after(3)
    (faults / "full-north").unlink()
    back = wait_for(lambda: run.used("north")[-1] > 3, FINISH_S, "north is not back")
    run.ends()
    run.tells("disk full at a site", first(run.refusals("north"), ""), back)


def test_a_full_disk_at_the_coordinator(federation: Loopback, play: Callable[..., Play], faults: Path) -> None:
    run = play("full-coordinator", federation__rounds="4")
    run.after(1)
    (faults / f"full-{run.folder.name}").touch()
    time.sleep(20.0)
    said = run.status["why"] or (run.folder / "server.log").read_text().strip().splitlines()[-1]
    (faults / f"full-{run.folder.name}").unlink()
    if run.status["state"] == "failed":
        run.begin()
    before = run.status["round"]
    back = wait_for(lambda: run.status["round"] > before, FINISH_S, "no round is finished")
    run.ends()
    run.tells("disk full at the coordinator", said.partition("ERROR ")[2] or said, back)


def test_foreign_and_expired_certificates(federation: Loopback, table: Add, tmp_path: Path, data: Path) -> None:
    settings = json.loads(federation.command("server", "sites", "--json", "--dir", federation.coordinator).stdout)
    other = Loopback(tmp_path / "other", {"north": data / "north"})
    other.join()
    for case, identity in (("foreign", other.site("north")), ("expired", expired(federation, tmp_path))):
        context = ssl.create_default_context(cafile=str(federation.coordinator / "ca.pem"))
        context.load_cert_chain(identity / "private" / "identity.pem")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"https://{settings['address']}/fedsurg/hello", verify=context, trust_env=False)
        said = last_request(federation)
        table(f"{case} certificate", said["why"], "no connection; other sites untouched", None)


def test_a_changed_study_and_one_that_nobody_approved(
    federation: Loopback, play: Callable[..., Play], write_study: Callable[..., Any], table: Add
) -> None:
    approved = play("changed", run=False)
    changed = Play(federation, write_study("changed", federation__quorum="2", local__learning_rate="0.002"), table)
    assert changed.paper.digest != approved.paper.digest
    done = federation.run(changed.paper.file)
    assert done.returncode != 0
    assert changed.status["state"] == "failed"
    changed.tells("a study with one changed value", done.stderr.strip().splitlines()[-1])


def test_a_study_that_one_hospital_has_not_approved(federation: Loopback, play: Callable[..., Play]) -> None:
    run = play("unapproved", approve=("north", "east"))
    run.ends()
    assert not run.used("harbour")
    run.tells("a study that one hospital has not approved", run.refusals("harbour")[0])


def test_a_tampered_vault(federation: Loopback, play: Callable[..., Play]) -> None:
    run = play("vault", federation__rounds="5", federation__deadline_s="20.0")
    run.after(1)
    federation.command("server", "pause", run.paper.digest[:12], "--dir", federation.coordinator)
    run.ends("paused")
    federation.stop_end("north")
    kept = federation.folder / "vault-kept"
    vault = federation.site("north") / "vault"
    shutil.copytree(vault, kept)
    (sealed,) = sorted(vault.glob(f"{run.paper.digest}/**/*round*"))[-1:] or sorted(vault.rglob("*round*"))[-1:]
    content = bytearray(sealed.read_bytes())
    content[len(content) // 2] ^= 1
    sealed.write_bytes(content)
    federation.start_site("north")
    run.begin()
    before = run.status["round"]
    run.after(before + 1)
    assert run.used("north")[-1] <= before
    federation.stop_end("north")
    shutil.rmtree(vault)
    kept.rename(vault)
    federation.start_site("north")
    run.ends()
    log = (federation.site("north") / "run" / "logs" / "worker.log").read_text()
    said = next(line for line in log.splitlines() if "VaultError" in line or "vault" in line.lower())
    run.tells("a byte of the vault flipped", run.refusals("north")[0] + "; at the site: " + said[-160:])


def test_a_tampered_audit_line(federation: Loopback, table: Add) -> None:
    federation.stop_end("north")
    (log,) = sorted((federation.site("north") / "audit").glob("*.jsonl"))[-1:]
    kept = log.read_bytes()
    lines = kept.splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"round":', b'"round" :', 1)
    log.write_bytes(b"".join(lines))
    done = federation.command("site", "audit", "verify", "--dir", federation.site("north"), check=False)
    log.write_bytes(kept)
    federation.start_site("north")
    assert done.returncode == 1
    table("a tampered audit line", done.stderr.strip() or done.stdout.strip(), "verify ends with 1", None)


def test_two_runs_of_one_study_at_once(federation: Loopback, play: Callable[..., Play]) -> None:
    run = play("twice")
    again = federation.run(run.paper.file, "--detach")
    run.ends()
    assert [record["round"] for record in run.history] == [1, 2, 3, 4]
    run.tells("two runs of one study at once", (again.stdout + again.stderr).strip().splitlines()[-1])


def approve_at(site: Path, file: Path) -> None:
    """Approve a study without the seconds that the command takes to start."""
    study = load_study(file)
    _, contract = facts_of(study, "fedst")
    Approvals(site).approve(study, "fedst", contract.digest, "a person")


def nonsense(content: RecordDict) -> RecordDict:
    """In rounds 1 to 3 what must be refused, honest from then on."""
    reply = echo("harbour")(content)
    number = content.config_records[REQUEST]["round"]
    if number > 3:
        return reply
    values = np.frombuffer(content.array_records[UPDATE][VECTOR].data, np.float32).copy()
    if number == 1:
        values[7] = np.nan
    if number == 2:
        values = values[:-1]
    if number == 3:
        reply[REPORT] = MetricRecord(dict(Report(-5).facts()))
    reply[UPDATE] = ArrayRecord({VECTOR: Array("float32", (len(values),), "raw", values.tobytes())})
    return reply


def up(federation: Loopback, end: str, process: str, restarts: int) -> bool:
    """The process runs again, after so many restarts."""
    found = federation.processes(end)[process]
    return bool(found["state"] == "running" and found["restarts"] > restarts)


def first(found: list[str], otherwise: str) -> str:
    return found[0] if found else otherwise


def last_request(federation: Loopback) -> dict[str, Any]:
    """The last line of the gateway's request log that has no site's name."""
    time.sleep(1.0)
    lines = (federation.coordinator / "run" / "logs" / "requests.jsonl").read_text().splitlines()
    found: dict[str, Any] = next(line for line in map(json.loads, reversed(lines)) if line.get("why"))
    return found


def expired(federation: Loopback, folder: Path) -> Path:
    """A site folder's identity with a certificate of the federation's authority that ended yesterday."""
    from datetime import timedelta

    from fedsurg.joining.certificates import certificate_pem, public_key
    from fedsurg.joining.clock import now
    from fedsurg.joining.keys import private_pem
    from server.authority import read_authority
    from site_client.site_folder import read_identity

    own = read_identity(federation.site("north"), "north", now())
    authority = read_authority(federation.coordinator)
    past = now() - timedelta(days=3)
    certificate = authority.issue_site(public_key(own.certificate), "north", past, timedelta(days=1))
    target = folder / "expired" / "private" / "identity.pem"
    target.parent.mkdir(parents=True)
    target.write_bytes(private_pem(own.key) + certificate_pem(certificate).encode() + authority.pem.encode())
    return folder / "expired"

"""The ServerApp of a deployed run, with a wire and a SuperLink that are played: the numbers are the inline engine's."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cryptography import x509
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedsurg.audit.heads import SignedHead, kept_heads, sign_head, verify_head
from fedsurg.audit.log import AuditLog, Event, read_events
from fedsurg.audit.verify import verify_log
from fedsurg.errors import FederationError, FedsurgError, RunError
from fedsurg.joining.clock import now
from fedsurg.joining.keys import read_private_key
from fedsurg.models.start_file import read_start, write_start
from fedsurg.sharing.protocol import CERTIFICATE, HEAD, REQUEST
from fedsurg.study.digest import study_digest
from fedsurg.study_file.load import parse_study
from fedsurg.study_file.paths import with_absolute_paths
from fedsurg.tensor_file import read_tensors, write_tensors
from server import deployed
from server.control import Node, node_key
from server.joining import revoke
from server.layout import GATEWAY
from server.members import Members
from server.runs import RunFolder, Status, Wanted
from simulations.bench import EngineOf
from simulations.inline import FIRST_NODE, InlineGrid
from simulations.job import Job
from simulations.run_job import run_job
from site_client.client_app import make_client_app
from site_client.layout import IDENTITY

SITES = ("north", "east")


class PlayedControl:
    """The sites of a study are the nodes of the inline grid, in its order."""

    folder: Path

    def __init__(self, port: int) -> None:
        assert port == 9444

    def __enter__(self) -> "PlayedControl":
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def nodes(self) -> list[Node]:
        found = []
        for number, site in enumerate(SITES):
            member = Members(self.folder).find(site)
            if member and member.node_public_key:
                found.append(Node(FIRST_NODE + number, site, node_key(member.node_public_key), True, None))
        return found


class World:
    """A coordinator with two admitted sites, a run that is waiting, and the sites' own engines."""

    def __init__(self, coordinator: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.job = coordinator, job
        self.digest = study_digest(job.study)
        self.run = RunFolder.of(coordinator, self.digest, job.study.name)
        settings = with_absolute_paths(job.study).resolved()
        self.run.want(Wanted(self.digest, job.study.name, job.method, settings, str(job.synthetic), "cpu"))
        self.run.update(Status(self.digest, job.study.name, "waiting", 0, job.study.federation.rounds))
        self.requests: list[RecordDict] = []
        self.changes: Callable[[str, int, RecordDict], None] = lambda site, number, content: None
        PlayedControl.folder = coordinator
        monkeypatch.setattr(deployed, "Control", PlayedControl)
        monkeypatch.setenv("FEDSURG_COORDINATOR", str(coordinator))

    def app(self) -> ClientApp:
        """Engines of the inline job, under the digest of the study; every site signs the head of its log."""
        engines = make_client_app(EngineOf(self.job))
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            self.requests.append(message.content)
            site = SITES[int(context.node_config["partition-id"])]
            number = int(message.content.config_records[REQUEST]["round"])  # type: ignore[call-overload]
            message.content.config_records[REQUEST]["study"] = self.job_digest
            reply = engines(message, context)
            log = AuditLog(self.folder.parent / site / "audit", "site")
            log.append(Event("left", round=number))
            key = read_private_key(self.folder.parent / site / IDENTITY)
            reply.content[HEAD] = ConfigRecord({**sign_head(log, site, key).facts()})
            self.changes(site, number, reply.content)
            return reply

        return app

    @property
    def job_digest(self) -> str:
        from simulations.job import job_digest

        return job_digest(self.job)

    def federate(self) -> None:
        grid = InlineGrid(self.app(), len(SITES), self.job.study.federation.deadline_s)
        deployed.federate(grid, Context(1, 1, {}, RecordDict(), {"study": self.digest}))

    def said(self) -> list[str]:
        """What the run's process logged; joining is of persons."""
        return [line["what"] for line in read_events(self.folder / "audit") if line["who"] == "coordinator"]


@pytest.fixture
def deployable(tiny_text: str, start: Path, tmp_path: Path, job_in: Callable[..., Job]) -> Callable[..., Job]:
    """The tiny study from a start file, as a job of the inline engine in the folder `inline`."""
    file = tmp_path / "start.safetensors"
    text = tiny_text.replace("[server.pretrain]\n", f'[server.pretrain]\nstart = "{file}"\n')

    def make(folder: str = "inline", **overrides: Any) -> Job:
        method = overrides.pop("method", "fedst")
        job = job_in(tmp_path / folder, method, **overrides)
        if not file.exists():
            write_start(file, job.study, read_tensors(start)[0], {})
        study = parse_study(text, "tiny.toml", overrides={k.replace("__", "."): v for k, v in overrides.items()})
        plain = tmp_path / "plain.safetensors"  # as the engines read it
        write_tensors(plain, read_start(study), {})
        return replace(job, study=study, start=plain)

    return make


@pytest.fixture
def make_world(
    coordinator: Path, deployable: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., World]:
    torch.set_num_threads(1)
    return lambda **options: World(coordinator, deployable(**options), monkeypatch)


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """Plain averaging: the server has nothing to learn."""
    return make_world(method="fedavg")


def test_the_model_is_the_inline_engines(make_world: Callable[..., World], deployable: Callable[..., Job]) -> None:
    world = make_world()
    world.federate()
    inline = deployable("straight")
    run_job(inline, lambda record: None, lambda: False)
    ours, facts = read_tensors(world.run.path / "global.safetensors")
    theirs, _ = read_tensors(inline.folder / "server" / "global.safetensors")
    assert facts == {"study": world.digest}
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    status = world.run.status()
    assert (status.state, status.round, status.rounds, status.refused) == ("finished", 2, 2, {})
    assert {site: (facts["round"], facts["doing"]) for site, facts in status.sites.items()} == {
        "north": (3, "answered"),
        "east": (3, "answered"),
    }
    assert status.bytes_in > 0
    contract = json.loads((world.run.path / "contract.json").read_text())
    assert status.bytes_out > 3 * 2 * sum(row["bytes"] for row in contract if row["scope"] == "shared")
    assert len((world.run.path / "history.jsonl").read_text().splitlines()) == 3


def test_both_logs_prove_each_other(world: World) -> None:
    world.federate()
    kept = "head of the other end"
    round_ = [*[kept, "reply accepted"] * 2]
    assert world.said() == [
        *["run began", "round started", *round_, "replies averaged"],
        *["round started", *round_, "replies averaged"],
        *["model delivered", *round_, "study finished at the sites", "run finished"],
    ]
    lines = [line for line in read_events(world.folder / "audit") if line["what"] == "reply accepted"]
    assert {line["facts"]["site"] for line in lines} == set(SITES)
    assert all(line["study"] == world.digest and line["sha256"] for line in lines)
    assert [line["bytes"] > 0 for line in lines] == [True] * 4 + [False] * 2
    verify_log(world.folder / "audit", [], [])
    # The site's log holds against the heads that the coordinator kept, and the other way round.
    certificates = x509.load_pem_x509_certificates((world.folder.parent / "north" / IDENTITY).read_bytes())
    verify_log(world.folder.parent / "north" / "audit", list(kept_heads(world.folder / "audit", "north")), certificates)
    heads = []
    for content in world.requests:
        sent = dict(content.config_records[HEAD])
        certificate = x509.load_pem_x509_certificate(str(sent.pop(CERTIFICATE)).encode())
        heads.append(SignedHead.from_facts(sent))
        verify_head(heads[-1], [certificate])
    assert {head.log for head in heads} == {"coordinator"}
    gateway = x509.load_pem_x509_certificates((world.folder / GATEWAY).read_bytes())
    verify_log(world.folder / "audit", heads, gateway)


def test_it_goes_on_after_a_crash(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between averaging and checkpoint: the round is repeated, and nothing is lost."""

    class Killed(BaseException):
        pass

    def killed(store: Any, state: Any) -> None:
        if state.round == 2:
            raise Killed
        real(store, state)

    real = deployed.CheckpointStore.save
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(deployed.CheckpointStore, "save", killed)
        world.federate()
    status = world.run.status()
    assert (status.state, status.round) == ("running", 1)
    assert world.run.holder()[0] == 0
    world.federate()
    assert world.run.status().state == "finished"
    assert [what for what in world.said() if what.startswith("run")] == ["run began", "run goes on", "run finished"]
    assert world.said().count("round started") == 3


def test_a_missed_quorum_fails_with_its_reason_and_can_be_mended(make_world: Callable[..., World]) -> None:
    world = make_world(method="fedavg", federation__quorum=2)

    def spoil(site: str, number: int, content: RecordDict) -> None:
        if site == "east" and number == 2:
            content.metric_records["report"]["samples"] = -5

    world.changes = spoil
    with pytest.raises(FederationError):
        world.federate()
    status = world.run.status()
    assert (status.state, status.round) == ("failed", 1)
    assert status.why.startswith("round 2: 1 of 2 sites accepted, the quorum is 2 (east: claims -5 samples, allowed")
    assert status.refused["east"].startswith("claims -5 samples")
    assert "ERROR round 2: 1 of 2 sites accepted" in world.run.log.read_text()
    world.changes = lambda site, number, content: None
    world.run.enter("waiting")
    world.federate()
    assert world.run.status().state == "finished"


def test_a_pause_is_kept_between_rounds(world: World) -> None:
    world.run.want_pause()
    world.federate()
    assert (world.run.status().state, world.run.status().round) == ("paused", 0)
    assert not world.run.pause_wanted
    assert not world.requests
    world.federate()
    assert world.run.status().state == "finished"


def test_a_video_that_was_not_in_the_backup(world: World) -> None:
    world.run.want(replace(world.run.wanted(), synthetic=str(world.folder / "cache" / "gone")))
    with pytest.raises(RunError, match=r"the server's video is gone; fedsurg server run with the same study renders"):
        world.federate()
    assert world.run.status().state == "failed"


def test_a_site_that_is_revoked_meanwhile_does_not_count(world: World) -> None:
    def revoked(site: str, number: int, content: RecordDict) -> None:
        if site == "east" and number == 1:
            revoke(world.folder, "east", "", now())

    world.changes = revoked
    world.federate()
    history = [json.loads(line) for line in (world.run.path / "history.jsonl").read_text().splitlines()]
    assert history[0]["refused"] == {"east": "was revoked"}
    assert [sorted(record["sites"]) for record in history] == [["north"]] * 3
    refused = [line for line in read_events(world.folder / "audit") if line["what"] == "reply refused"]
    assert [(line["facts"]["site"], line["why"], line["round"]) for line in refused] == [("east", "was revoked", 1)]


def test_a_reply_that_claims_to_be_anothers(world: World) -> None:
    def forge(site: str, number: int, content: RecordDict) -> None:
        content.config_records["origin"]["site"] = "north"

    world.changes = forge
    world.federate()
    assert world.run.status().refused == {"east": "says it is of 'north', but its node is 'east'"}


def test_a_log_that_was_rewritten_makes_the_reply_void(world: World) -> None:
    def rewrite(site: str, number: int, content: RecordDict) -> None:
        if site == "east" and number == 2:
            log = AuditLog(world.folder.parent / "another", "site")
            log.append(Event("a shorter story"))
            key = read_private_key(world.folder.parent / "east" / IDENTITY)
            content[HEAD] = ConfigRecord({**sign_head(log, "east", key).facts()})

    world.changes = rewrite
    world.federate()
    history = [json.loads(line) for line in (world.run.path / "history.jsonl").read_text().splitlines()]
    assert "its audit head is not accepted" in history[1]["refused"]["east"]
    assert "head of the other end REFUSED" in world.said()


def test_a_full_disk_is_said_and_nothing_is_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        def full(*arguments: Any) -> None:
            raise FedsurgError("checkpoint.safetensors: cannot be written (No space left on device); free some space")

        patch.setattr(deployed.CheckpointStore, "save", full)
        with pytest.raises(FedsurgError):
            world.federate()
    assert world.run.status().state == "failed"
    assert "No space left on device" in world.run.status().why
    world.run.enter("waiting")
    world.federate()
    assert world.run.status().state == "finished"


def test_a_changed_study_is_refused(world: World) -> None:
    wanted = world.run.wanted()
    wanted.settings["seed"] = 4
    world.run.want(wanted)
    with pytest.raises(FederationError, match="its settings now give the digest"):
        world.federate()
    assert world.run.status().state == "failed"

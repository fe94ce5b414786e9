"""A hospital's whole answer to real requests: approval, policy, vault, heads; what leaves, and what never does."""

import errno
import json
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from flwr.common.serde import message_to_proto

from fedsurg.audit import Event, kept_heads, verify_head, verify_log
from fedsurg.audit.log import read_events
from fedsurg.errors import AuditError, ContractError, PolicyError, StoppedError, StudyError, VaultError
from fedsurg.joining.certificates import certificate_pem
from fedsurg.models.start_file import read_start
from fedsurg.sharing.protocol import Request
from fedsurg.sharing.update import Update
from fedsurg.study import Study
from server.authority import gateway_pem, make_authority
from site_client.approvals import Approvals
from site_client.bundle.records import Answered, Asked
from site_client.layout import PROGRESS
from site_client.site_files import PlainFiles
from site_client.site_folder import read_identity
from site_client.worker.answering import COORDINATOR
from site_client.worker.engines import KEPT

MakeStudy = Callable[..., Study]


def unwatched(phase: str, step: int, steps: int) -> None:
    """Nobody looks."""


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk to be safe is tested elsewhere."""
    monkeypatch.setattr("os.fsync", lambda _handle: None)


@pytest.fixture
def first(hospital: Any, started: MakeStudy) -> Asked:
    """The request of round 1 of a study that is approved: the start's shared tensors, and the coordinator's head."""
    study = started(federation__rounds=3)
    request = hospital.approve(study)
    return hospital.with_head(Asked(request, _shared(hospital, request, study)))


def _shared(hospital: Any, request: Request, study: Study) -> Any:
    names = hospital.engines().of(request.study).contract.shared
    start = read_start(study)
    return Update.of({name: start[name].numpy() for name in names}).pack()


def after(first: Asked, answered: Answered) -> Asked:
    """The request of the next round: the model comes back as it was sent."""
    return replace(first, request=replace(first.request, round=first.request.round + 1), packed=answered.packed)


def whats(hospital: Any) -> list[str]:
    return [line["what"] for line in read_events(hospital.log.folder)]


def states(hospital: Any, study: str) -> list[str]:
    return hospital.engines()._vault.files(study, "north").names()


def test_a_round_from_the_message_to_the_vault(hospital, first: Asked, over_flower: Callable[..., Message]) -> None:
    """All of it: Flower's message, the thin ClientApp, the socket, policy, engine, vault."""
    update = Update(np.frombuffer(first.packed.data, "<f4"), _layout(hospital, first))
    with hospital.worker():
        reply = over_flower(first.request, update)
        assert not reply.has_error(), reply.error
    sent = reply.content["update"]["vector"].data
    assert sent != first.packed.data
    assert list(reply.content["layout"]["names"]) == list(first.packed.names)
    assert reply.content["report"]["samples"] == 4
    assert states(hospital, first.request.study) == ["private/round-000001"]
    assert json.loads((hospital.folder / PROGRESS).read_text())["last"] == "answered"
    _nothing_private_in(hospital, first, message_to_proto(reply).SerializeToString())


def _layout(hospital: Any, first: Asked) -> Any:
    return Update.unpack(first.packed, hospital.engines().of(first.request.study).contract).layout


def _nothing_private_in(hospital: Any, first: Asked, content: bytes) -> None:
    """No path, case or file name, and no tensor that stays at the site, by name or by value."""
    engine = hospital.engines().of(first.request.study)
    engine._restore(2)
    values = {name: value.detach().numpy() for name, value in engine.network.tensors().items()}
    (site,) = engine.sources
    names = {*site.cases(), *site.frames["image"], *site.frames["clip"], str(site.root), str(hospital.folder)}
    assert len(names) > 5
    for name in (*names, *engine.contract.site):
        assert str(name).encode() not in content, name
    assert engine.contract.site
    for name in engine.contract.site:
        if values[name].size > 3:
            assert values[name].tobytes() not in content, name


def test_two_rounds_and_the_last_delivery(hospital, first: Asked) -> None:
    answering = hospital.answering()
    one = answering(first, unwatched)
    two = answering(after(first, one), unwatched)
    three = answering(after(after(first, one), two), unwatched)
    last = answering(
        replace(first, request=replace(first.request, round=4, work="finish"), packed=three.packed), unwatched
    )
    assert (last.site, last.packed.data) == ("north", b"")
    assert len(answering._engines._warm) == 1
    assert states(hospital, first.request.study) == ["personal", "private/round-000002", "private/round-000003"]
    events = whats(hospital)
    assert events.count("request allowed") == events.count("reply released") == 4


def test_heads_are_exchanged(hospital, first: Asked) -> None:
    answered = hospital.answering()(first, unwatched)
    assert list(kept_heads(hospital.log.folder, COORDINATOR)) == [first.head]
    assert answered.head is not None
    identity = read_identity(hospital.folder, "north", _now())
    verify_head(answered.head, [identity.certificate])
    assert verify_log(hospital.log.folder, [answered.head], [identity.certificate]).heads == 1
    assert answered.head.sequence == len(whats(hospital))  # nothing of the round is behind it


def _now() -> datetime:
    return datetime.now(UTC)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("another line", "is not signed by that end's key"),
        ("signature", "is not signed by that end's key"),
        ("another name", "the other end is 'coordinator', its head is of the log 'east'"),
        ("a site's key", "the coordinator's head is signed by a site; nothing was done"),
        ("foreign", "is not of this federation"),
        ("none", "is not of this federation"),
    ],
)
def test_a_head_that_is_forged(hospital, first: Asked, how: str, message: str) -> None:
    identity = read_identity(hospital.folder, "north", _now())
    assert first.head is not None
    match how:
        case "another line":
            forged = replace(first, head=replace(first.head, sha256="f" * 64))
        case "signature":
            forged = replace(first, head=replace(first.head, signature="AAAA"))
        case "another name":
            forged = replace(first, head=replace(first.head, log="east"))
        case "a site's key":
            forged = replace(first, certificate=certificate_pem(identity.certificate))
        case "foreign":
            other = make_authority("localhost", _now())
            _, certificate = gateway_pem(other, "localhost", _now(), timedelta(days=1))
            forged = replace(first, certificate=certificate_pem(certificate))
        case _:
            forged = replace(first, certificate="")
    with pytest.raises(AuditError, match=message):
        hospital.answering()(forged, unwatched)
    assert not {"request allowed", "reply released"} & set(whats(hospital))
    assert states(hospital, first.request.study) == []


def test_a_head_that_goes_back(hospital, first: Asked) -> None:
    answering = hospital.answering()
    hospital.coordinator_log.append(Event("round begun"))
    newer = hospital.with_head(first)
    answering(newer, unwatched)
    with pytest.raises(AuditError, match="it was cut or replaced"):
        answering(first, unwatched)
    assert "head of the other end REFUSED" in whats(hospital)


@pytest.mark.parametrize(
    ("change", "problem", "message"),
    [
        ({"study": "ab" * 32}, PolicyError, "study abababababab is not approved here"),
        ({"contract": "cd" * 32}, PolicyError, "the request has cdcdcdcdcdcd and this site"),
        ({"round": 4}, PolicyError, "asked to train in round 4, approved are 3 of 3 rounds"),
    ],
)
def test_what_was_not_approved(hospital, first: Asked, change: dict[str, Any], problem: type, message: str) -> None:
    answering = hospital.answering()
    with pytest.raises(problem, match=message):
        answering(replace(first, request=replace(first.request, **change)), unwatched)
    assert (whats(hospital)[-1], bool(answering._engines._warm)) == ("request refused", "study" not in change)


def test_a_study_that_was_revoked_while_it_runs(hospital, first: Asked) -> None:
    answering = hospital.answering()

    def revoke(phase: str, step: int, steps: int) -> None:
        if phase == "train":
            Approvals(hospital.folder).revoke(first.request.study, "A. Vogel")

    with pytest.raises(PolicyError, match="is not open here: revoked"):
        answering(first, revoke)
    assert whats(hospital)[-1] == "reply withheld"


def test_tensors_that_break_the_contract(hospital, first: Asked) -> None:
    wrong = replace(first, packed=replace(first.packed, names=("encoder.q", *first.packed.names[1:])))
    with pytest.raises(ContractError):
        hospital.answering()(wrong, unwatched)
    assert whats(hospital)[-1] == "work failed"


def test_a_change_of_the_policy_acts_at_once(hospital, first: Asked) -> None:
    answering = hospital.answering()
    (hospital.folder / "policy.toml").write_text("minimum_cases = 3\n")
    with pytest.raises(PolicyError, match="a round would train on 2 cases here, the policy asks for 3"):
        answering(first, unwatched)
    (hospital.folder / "policy.toml").write_text("minimum_cases = \n")
    with pytest.raises(PolicyError, match="mend it: until then nothing is allowed"):
        answering(first, unwatched)
    (hospital.folder / "policy.toml").write_text('minimum_cases = 2\nwithhold = ["received_loss"]\n')
    report = answering(first, unwatched).report
    assert np.isnan([report.received_loss, report.received_dice]).all()  # withheld, and scored on one case
    assert np.isfinite(report.train_loss)


def test_a_request_without_a_head_is_not_answered(hospital, first: Asked) -> None:
    with pytest.raises(AuditError, match="without a head of the coordinator's audit log"):
        hospital.answering()(replace(first, head=None), unwatched)
    assert not states(hospital, first.request.study)


@pytest.mark.parametrize("method", ["fedst", "fedrep", "ditto"])
def test_stopped_in_the_middle_of_training(hospital, started: MakeStudy, method: str) -> None:
    """The second round is stopped at its second step and asked again: the answer is as if nothing had been."""
    study = started(federation__rounds=3, local__steps=3, methods=[method])
    request = hospital.approve(study, method)
    # of FedRep's three steps one or two train what is sent: that is certain to be of one case alone
    (hospital.folder / "policy.toml").write_text("minimum_cases = 1\nminimum_scored_cases = 1\n")
    begin = hospital.with_head(Asked(request, _shared(hospital, request, study)))
    answering, undisturbed = hospital.answering(), _twin(hospital)
    second = after(begin, answering(begin, unwatched))
    undisturbed(begin, unwatched)
    expected = undisturbed(second, unwatched)
    reached: list[tuple[str, int, int]] = []

    def stop(phase: str, step: int, steps: int) -> None:
        reached.append((phase, step, steps))
        if (phase, step) == ("train", 1):
            raise StoppedError("enough")

    with pytest.raises(StoppedError):
        answering(second, stop)
    assert reached[-1] == ("train", 1, 6 if method == "ditto" else 3)
    assert answering(second, unwatched).packed == expected.packed


def _twin(hospital: Any) -> Any:
    """Another site engine of the same study, with files of its own, that nothing disturbs."""
    engines = hospital.engines()
    engines._vault.files = lambda digest, site: PlainFiles(hospital.folder / "twin", site)

    def answer(asked: Asked, watch: Any) -> Answered:
        update, report = engines.of(asked.request.study).work(asked.request, asked.packed)
        return Answered("north", update.pack(), report)

    return answer


def test_a_worker_that_was_killed_goes_on_from_the_vault(hospital, first: Asked) -> None:
    warm, twin = hospital.answering(), _twin(hospital)
    second = after(first, warm(first, unwatched))
    twin(first, unwatched)
    cold = hospital.answering()
    assert cold(second, unwatched).packed == twin(second, unwatched).packed


def test_a_full_disk_is_one_line_and_the_round_can_be_repeated(
    hospital, first: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering, twin = hospital.answering(), _twin(hospital)
    vault = hospital.folder / "vault"
    before = {path: path.read_bytes() for path in vault.rglob("*.sealed")}
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkstemp", _full(vault))
        with pytest.raises(VaultError, match=r"cannot be written \(No space left on device\); free some space") as seen:
            answering(first, unwatched)
    assert "\n" not in str(seen.value)
    assert {path: path.read_bytes() for path in vault.rglob("*.sealed")} == before
    assert not list(vault.rglob(".*"))
    assert whats(hospital)[-1] == "work failed"
    assert answering(first, unwatched).packed == twin(first, unwatched).packed


def _full(folder: Path) -> Callable[..., Any]:
    make = tempfile.mkstemp

    def mkstemp(*arguments: Any, **options: Any) -> Any:
        if Path(options.get("dir", "/")).is_relative_to(folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return make(*arguments, **options)

    return mkstemp


def test_data_that_went_away(hospital, first: Asked, caplog: pytest.LogCaptureFixture, over_flower) -> None:
    """The text is in the log at the hospital, the coordinator reads `DataError`."""
    settings = hospital.folder / "federation.toml"
    lines = settings.read_text().splitlines()
    gone = ['data = "/nowhere/PATIENT-7"' if line.startswith("data = ") else line for line in lines]
    update = Update(np.frombuffer(first.packed.data, "<f4"), _layout(hospital, first))
    settings.write_text("\n".join(gone))
    with hospital.worker(), caplog.at_level(logging.ERROR, "fedsurg.site"):
        reply = over_flower(first.request, update)
    assert reply.error.reason == "DataError"
    assert "/nowhere/PATIENT-7: no such folder" in caplog.text
    assert b"PATIENT" not in message_to_proto(reply).SerializeToString()
    assert whats(hospital)[-1] == "request refused"


def test_studies_that_cannot_run_here(hospital, tiny_study: MakeStudy, started: MakeStudy) -> None:
    """However they came to be approved."""
    for study, message in [
        (tiny_study(), r"server\.pretrain\.start: is empty, but all ends must begin from the same file"),
        (started(methods=["central"]), r"'central' cannot run between hospitals"),
    ]:
        method = study.methods[0]
        request = hospital.approve(study, method)
        with pytest.raises(StudyError, match=message):
            hospital.engines().of(request.study)


def test_few_engines_are_kept(hospital, started: MakeStudy) -> None:
    engines = hospital.engines()
    digests = [hospital.approve(started(seed=seed)).study for seed in range(KEPT + 1)]
    found = [engines.of(digest) for digest in digests]
    assert [engines.of(digest) is one for digest, one in zip(digests[1:], found[1:], strict=True)] == [True] * KEPT
    assert len(engines._warm) == KEPT
    assert engines.of(digests[0]) is not found[0]

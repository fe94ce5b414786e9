"""The policy: closed by default, and each rule alone closes it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsurg.audit import AuditLog
from fedsurg.audit.log import read_events
from fedsurg.errors import AuditError, ContractError, PolicyError
from fedsurg.sharing.protocol import Report, Request
from fedsurg.sharing.update import Packed, Update
from fedsurg.study import Study
from fedsurg.study.digest import study_digest
from site_client.approvals import Approval, Approvals
from site_client.policy import Policy, read_policy

PolicyOf = Callable[[], Policy]
Ask = Callable[..., Request]
Approve = Callable[..., Approval]
Check = Callable[..., Approval]
Answer = Callable[..., tuple[Packed, Report]]


def last(log: AuditLog) -> dict[str, Any]:
    return list(read_events(log.folder))[-1]


def test_closed_by_default(answer: Answer, log: AuditLog, study: Study, worker_of: Any) -> None:
    worker = worker_of()
    with pytest.raises(PolicyError, match=r"study \w{12} is not approved here; read it with fedsurg site review"):
        answer(worker=worker)
    assert worker.asked == 0
    line = last(log)
    assert (line["what"], line["study"], line["round"], line["bytes"]) == (
        "request refused",
        study_digest(study),
        1,
        24,
    )
    assert "is not approved here" in line["why"]


def test_an_approved_round(answer: Answer, approve: Approve, log: AuditLog, update: Update, report: Report) -> None:
    approve()
    assert answer() == (update.pack(), report)
    allowed, released = read_events(log.folder)
    assert (allowed["what"], allowed["why"]) == ("request allowed", "approved by A. Vogel")
    assert (released["what"], released["bytes"], released["sha256"]) == ("reply released", 24, allowed["sha256"])
    assert released["facts"]["report"]["trained_dice"] == 0.8


def test_the_last_delivery(answer: Answer, check: Check, approve: Approve, worker_of: Any, report: Report) -> None:
    approve()
    worker = worker_of(cases=(1, 2))  # nothing is trained
    worker.answer = (None, report)
    packed, _ = answer(4, "finish", worker=worker)
    assert packed.data == b""
    for number in (1, 3, 5):
        with pytest.raises(PolicyError, match=f"asked to finish in round {number}, approved are 3 of 3 rounds"):
            check(number, "finish", worker=worker)


def test_a_round_is_not_answered_for_ever(
    policy_of: PolicyOf, answer: Answer, ask: Ask, approve: Approve, worker_of: Any, update: Update
) -> None:
    approve()
    for _ in range(2):
        answer()  # as after restarts
    policy = policy_of()
    policy.answer(worker_of(), ask(), update.pack())
    with pytest.raises(PolicyError, match="round 1 was answered 3 times, the policy allows 3; ask the coordinator why"):
        policy.check(ask(), update.pack(), worker_of())
    policy.check(ask(2), update.pack(), worker_of())


def test_too_few_cases_and_too_large_a_message(check: Check, approve: Approve, tmp_path: Path, worker_of: Any) -> None:
    approve()
    with pytest.raises(PolicyError, match="a round would train on 2 cases here, the policy asks for 3; add cases,"):
        check(worker=worker_of(cases=(2, 2)))
    (tmp_path / "policy.toml").write_text("max_update_bytes = 23\n")
    with pytest.raises(PolicyError, match="the message has 24 bytes, the policy allows 23; change max_update_bytes"):
        check()


def test_scores_of_one_case_do_not_leave(
    policy_of: PolicyOf, ask: Ask, approve: Approve, tmp_path: Path, worker_of: Any, update: Update, report: Report
) -> None:
    approve()
    (tmp_path / "policy.toml").write_text('withhold = ["train_loss"]\n')
    _, released = policy_of().release(ask(), update, report, worker_of(cases=(6, 1)))
    assert [name for name, value in released.facts().items() if math.isnan(value)] == [
        "train_loss",
        "received_loss",
        "received_dice",
        "received_iou",
        "trained_loss",
        "trained_dice",
        "trained_iou",
    ]
    assert released.samples == 40


@pytest.mark.parametrize(
    ("update", "error", "message"),
    [
        (Update.of({"encoder.q": np.ones(4, np.float32)}), ContractError, "tensor 'head.weight' is missing"),
        (Update.of({"head.weight": np.ones((3, 2), np.float32)}), ContractError, "head.weight"),
        (
            Update.of({"head.weight": np.full((2, 3), math.nan, np.float32)}),
            ContractError,
            "'head.weight' has values that are not finite",
        ),
        (None, PolicyError, "tensors leave after training, and only then"),
    ],
)
def test_what_may_not_leave(
    policy_of: PolicyOf,
    ask: Ask,
    approve: Approve,
    log: AuditLog,
    worker_of: Any,
    report: Report,
    update: Any,
    error: Any,
    message: str,
) -> None:
    approve()
    with pytest.raises(error, match=message):
        policy_of().release(ask(), update, report, worker_of())
    assert last(log)["what"] == "reply withheld"


def test_revoked_while_the_site_worked(
    answer: Answer,
    approve: Approve,
    approvals: Approvals,
    log: AuditLog,
    worker_of: Any,
    update: Update,
    report: Report,
) -> None:
    approval, worker = approve(), worker_of()

    def slow(request: Request, packed: Packed) -> tuple[Update | None, Report]:
        approvals.revoke(approvals.find(approval.study[:8]), "C. Brandt")
        return update, report

    worker.work = slow
    with pytest.raises(PolicyError, match="is not open here: revoked"):
        answer(worker=worker)
    assert [line["what"] for line in read_events(log.folder)] == ["request allowed", "reply withheld"]


def test_failed_work_is_in_the_log(answer: Answer, approve: Approve, log: AuditLog, worker_of: Any) -> None:
    def broken(request: Request, packed: Packed) -> tuple[Update | None, Report]:
        raise ContractError("case PATIENT-7 is broken")

    approve()
    worker = worker_of()
    worker.work = broken
    with pytest.raises(ContractError):
        answer(worker=worker)
    assert (last(log)["what"], last(log)["why"]) == ("work failed", "ContractError: case PATIENT-7 is broken")


def test_nothing_leaves_that_cannot_be_logged(
    policy_of: PolicyOf,
    ask: Ask,
    approve: Approve,
    monkeypatch: pytest.MonkeyPatch,
    worker_of: Any,
    update: Update,
    report: Report,
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    approve()
    policy = policy_of()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(AuditError, match="No space left on device"):
        policy.release(ask(), update, report, worker_of())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("minimum_cases = 0", r"policy\.toml: minimum_cases: .*greater than 0"),
        ("minimum_case = 5", r"policy\.toml: minimum_case: .*; keys: two_approvers, minimum_cases"),
        ("minimum_cases = ", r"policy\.toml: cannot be read .*; mend it: until then nothing is allowed"),
        ('withhold = ["dice"]', r"policy\.toml: withhold: 'dice' is no metric; known: train_loss, received_loss"),
    ],
)
def test_a_mistake_in_the_policy(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "policy.toml").write_text(text)
    with pytest.raises(PolicyError, match=message):
        read_policy(tmp_path)

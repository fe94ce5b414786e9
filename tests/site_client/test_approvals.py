"""What an approval allows, and that nothing else is allowed: a change, an end, a second person."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from fedsurg.errors import PolicyError
from fedsurg.sharing.contract import Contract, Entry
from fedsurg.sharing.protocol import Request
from fedsurg.sharing.update import Update
from fedsurg.study import Study
from fedsurg.study.digest import study_digest
from site_client.approvals import Approval, Approvals
from site_client.policy import Policy

PolicyOf = Callable[[], Policy]
Ask = Callable[..., Request]
Approve = Callable[..., Approval]
Check = Callable[..., Approval]


@pytest.mark.parametrize(
    ("options", "fields", "message"),
    [
        ({}, {"study": "ab" * 32}, "study abababababab is not approved here"),
        ({}, {"study": "../../etc"}, r"study \.\./\.\./etc is not approved here"),
        (
            {},
            {"contract": "cd" * 32},
            "was approved, the request has cdcdcdcdcdcd and this site .*; review the study again",
        ),
        ({"max_rounds": 2}, {"number": 3}, "asked to train in round 3, approved are 2 of 3 rounds; approve more"),
        ({}, {"number": 4}, "asked to train in round 4, approved are 3 of 3 rounds"),
    ],
)
def test_what_was_not_approved(
    check: Check, approve: Approve, options: dict[str, Any], fields: dict[str, Any], message: str
) -> None:
    approve(**options)
    with pytest.raises(PolicyError, match=message):
        check(**fields)


def test_a_worker_with_another_contract(check: Check, approve: Approve, worker_of: Any) -> None:
    approve()
    other = Contract((Entry("head.weight", "head", "shared", (2, 4)),))
    with pytest.raises(PolicyError, match=f"and this site {other.digest[:12]}"):
        check(worker=worker_of(other))


def test_one_changed_value_is_another_study(check: Check, approve: Approve, tiny_study: Callable[..., Study]) -> None:
    approve()
    changed = study_digest(tiny_study(federation__rounds=3, local__steps=2))
    with pytest.raises(PolicyError, match=f"study {changed[:12]} is not approved here"):
        check(study=changed)


def test_one_changed_byte_in_the_copy(check: Check, approve: Approve, approvals: Approvals, study: Study) -> None:
    approve()
    path = approvals.folder / f"{study_digest(study)}.study.json"
    path.write_text(path.read_text().replace('"seed":3', '"seed":4', 1))
    with pytest.raises(PolicyError, match=r"study\.json: was changed: its digest is .*; approve the study again"):
        check()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_rounds = 3", "max_rounds = 0", r"\.toml: is no approval .*max_rounds"),
        ("max_rounds = 3", "max_rounds = 3\nmore = 1", r"\.toml: is no approval .*more"),
        ("max_rounds", "max rounds", r"\.toml: is no approval"),
        ('study = "', 'study = "00', r"\.toml: approves the study 00\w+, not the one in its name; approve again"),
        ("revoked = false", "revoked = true", "is not open here: revoked; see fedsurg site approvals"),
        ("expires = 2026-08-28", "expires = 2026-02-28", "is not open here: expired"),
    ],
)
def test_a_changed_approval(
    check: Check, approve: Approve, approvals: Approvals, old: str, new: str, message: str
) -> None:
    approval = approve()
    path = approvals.folder / f"{approval.study}.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(PolicyError, match=message):
        check()


def test_an_approval_ends_with_its_last_day(
    policy_of: PolicyOf, ask: Ask, approve: Approve, worker_of: Any, update: Update
) -> None:
    approve(expires=date(2026, 3, 1))
    policy = policy_of()
    policy.check(ask(), update.pack(), worker_of())
    policy.approvals._now = lambda: datetime(2026, 3, 2, tzinfo=UTC)
    with pytest.raises(PolicyError, match="expired"):
        policy.check(ask(), update.pack(), worker_of())


@pytest.mark.parametrize("name", ["𠮷田 花", 'A. "Vogel"', "Å. \\ Vogel", "نیلوفر\u200cی", "👩\u200d⚕️ Vogel"])
def test_a_person_may_have_any_name(approve: Approve, approvals: Approvals, check: Check, name: str) -> None:
    approval = approve(approver=name)
    assert (approval.approver, approvals.read(approval.study).approver) == (name, name)
    check()


@pytest.mark.parametrize("name", ["Vogel\x7f", "Vogel\udcff", "A.\x1b[31m Vogel"])
def test_a_name_that_is_none(approve: Approve, tmp_path: Path, name: str) -> None:
    with pytest.raises(PolicyError, match="an approver's name has letters, no control characters; give another"):
        approve(approver=name)
    assert not list((tmp_path / "approvals").glob("*.toml"))


def test_two_persons(check: Check, approve: Approve, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("two_approvers = true\n")
    approve(max_rounds=2)
    with pytest.raises(PolicyError, match="is not open here: waits for a second approver"):
        check()
    with pytest.raises(PolicyError, match=r"'a. vogel ' has approved already; the second approver is another person"):
        approve(second="a. vogel ")
    with pytest.raises(
        PolicyError, match=r"--max-rounds 3: A. Vogel has approved 2; leave --max-rounds out, or let the"
    ):
        approve(second="B. Keller", max_rounds=3)
    approval = approve(second="B. Keller", max_rounds=2)  # the same command, as the first one's
    assert (approval.approver, approval.max_rounds, approval.second_approver) == ("A. Vogel", 2, "B. Keller")
    check()


def test_limits_of_an_approval(approve: Approve, approvals: Approvals) -> None:
    with pytest.raises(PolicyError, match=r"--max-rounds 4: the study has 3 rounds; give 1 to 3"):
        approve(max_rounds=4)
    with pytest.raises(PolicyError, match=r"--expires 2026-02-28: is over, today is 2026-03-01"):
        approve(expires=date(2026, 2, 28))
    assert approvals.all() == []
    approval = approve()
    assert approvals.all() == [approval]
    assert (approval.expires, approval.max_rounds) == (date(2026, 8, 28), 3)
    for text in (approval.study[:7], "00000000"):
        with pytest.raises(PolicyError, match=r"names . studies here; give 8 or more characters"):
            approvals.find(text)

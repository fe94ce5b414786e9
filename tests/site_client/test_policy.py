"""The policy: closed by default, and each rule alone closes it."""

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsurg.audit import AuditLog
from fedsurg.audit.log import read_events
from fedsurg.errors import ContractError, PolicyError
from fedsurg.sharing.contract import Contract, Entry
from fedsurg.sharing.protocol import Report, Request
from fedsurg.sharing.update import Packed, Update
from fedsurg.study import Study
from fedsurg.study.load import study_digest
from site_client.approvals import Approvals
from site_client.policy import Cohort, Policy, answer_under_policy, read_policy

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONTRACT = Contract((Entry("head.weight", "head", "shared", (2, 3)), Entry("encoder.q", "query", "site", (4,))))
UPDATE = Update.of({"head.weight": np.ones((2, 3), np.float32)})
REPORT = Report(40, 0.5, 0.4, 0.7, 0.6, 0.3, 0.8, 0.7, 1.0, 2.0, 3.0, 4.0)


class FakeWorker:
    """Answers with what it was given."""

    def __init__(self, contract: Contract = CONTRACT, cases: tuple[int, int] = (6, 2)) -> None:
        self.contract, self.cases, self.asked = contract, cases, 0
        self.answer: tuple[Update | None, Report] = (UPDATE, REPORT)

    def cohort(self) -> Cohort:
        return Cohort(*self.cases)

    def work(self, request: Request, packed: Packed) -> tuple[Update | None, Report]:
        self.asked += 1
        return self.answer


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _handle: None)


@pytest.fixture
def study(tiny_study: Callable[..., Study]) -> Study:
    return tiny_study(federation__rounds=3)


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit", "site north")


@pytest.fixture
def approvals(tmp_path: Path) -> Approvals:
    return Approvals(tmp_path, lambda: NOON)


@pytest.fixture
def policy_of(tmp_path: Path, log: AuditLog, approvals: Approvals) -> Callable[[], Policy]:
    return lambda: Policy(tmp_path, log, approvals)


@pytest.fixture
def ask(study: Study) -> Callable[..., Request]:
    def make(number: int = 1, work: str = "train", **fields: Any) -> Request:
        facts = {"study": study_digest(study), "contract": CONTRACT.digest, "round": number, "work": work}
        return Request(**facts | fields)

    return make


@pytest.fixture
def approve(approvals: Approvals, study: Study) -> Callable[..., Any]:
    def make(**options: Any) -> Any:
        return approvals.approve(study, "fedst", CONTRACT.digest, "A. Vogel", **options)

    return make


def last(log: AuditLog) -> dict[str, Any]:
    return list(read_events(log.folder))[-1]


def test_closed_by_default(policy_of, ask, log: AuditLog, study: Study) -> None:
    worker = FakeWorker()
    with pytest.raises(PolicyError, match=r"study \w{12} is not approved here; read it with fedsurg site review"):
        answer_under_policy(policy_of(), worker, ask(), UPDATE.pack())
    assert worker.asked == 0
    line = last(log)
    assert (line["what"], line["study"], line["round"], line["bytes"]) == (
        "request refused",
        study_digest(study),
        1,
        24,
    )
    assert "is not approved here" in line["why"]


def test_an_approved_round(policy_of, ask, approve, log: AuditLog) -> None:
    approve()
    packed, report = answer_under_policy(policy_of(), FakeWorker(), ask(), UPDATE.pack())
    assert (packed, report) == (UPDATE.pack(), REPORT)
    allowed, released = read_events(log.folder)
    assert (allowed["what"], allowed["why"]) == ("request allowed", "approved by A. Vogel")
    assert (released["what"], released["bytes"], released["sha256"]) == ("reply released", 24, allowed["sha256"])
    assert released["facts"]["report"]["trained_dice"] == 0.8


def test_the_last_delivery(policy_of, ask, approve, log: AuditLog) -> None:
    approve()
    worker = FakeWorker(cases=(1, 2))  # nothing is trained
    worker.answer = (None, REPORT)
    packed, _ = answer_under_policy(policy_of(), worker, ask(4, "finish"), UPDATE.pack())
    assert packed.data == b""
    for number in (1, 3, 5):
        with pytest.raises(PolicyError, match=f"asked to finish in round {number}, approved are 3 of 3 rounds"):
            policy_of().check(ask(number, "finish"), UPDATE.pack(), worker)


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
def test_what_was_not_approved(policy_of, ask, approve, options: dict, fields: dict, message: str) -> None:
    approve(**options)
    with pytest.raises(PolicyError, match=message):
        policy_of().check(ask(**fields), UPDATE.pack(), FakeWorker())


def test_a_worker_with_another_contract(policy_of, ask, approve) -> None:
    approve()
    other = Contract((Entry("head.weight", "head", "shared", (2, 4)),))
    with pytest.raises(PolicyError, match=f"and this site {other.digest[:12]}"):
        policy_of().check(ask(), UPDATE.pack(), FakeWorker(other))


def test_one_changed_value_is_another_study(policy_of, ask, approve, tiny_study: Callable[..., Study]) -> None:
    approve()
    changed = study_digest(tiny_study(federation__rounds=3, local__steps=2))
    with pytest.raises(PolicyError, match=f"study {changed[:12]} is not approved here"):
        policy_of().check(ask(study=changed), UPDATE.pack(), FakeWorker())


def test_one_changed_byte_in_the_copy(policy_of, ask, approve, approvals: Approvals, study: Study) -> None:
    approve()
    path = approvals.folder / f"{study_digest(study)}.study.json"
    path.write_text(path.read_text().replace('"seed":3', '"seed":4', 1))
    with pytest.raises(PolicyError, match=r"study\.json: was changed: its digest is .*; approve the study again"):
        policy_of().check(ask(), UPDATE.pack(), FakeWorker())


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
def test_a_changed_approval(policy_of, ask, approve, approvals: Approvals, old: str, new: str, message: str) -> None:
    approval = approve()
    path = approvals.folder / f"{approval.study}.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(PolicyError, match=message):
        policy_of().check(ask(), UPDATE.pack(), FakeWorker())


def test_an_approval_ends_with_its_last_day(policy_of, ask, approve) -> None:
    approve(expires=NOON.date())
    policy = policy_of()
    policy.check(ask(), UPDATE.pack(), FakeWorker())
    policy.approvals._now = lambda: datetime(2026, 3, 2, tzinfo=UTC)
    with pytest.raises(PolicyError, match="expired"):
        policy.check(ask(), UPDATE.pack(), FakeWorker())


def test_two_persons(policy_of, ask, approve, tmp_path: Path, log: AuditLog) -> None:
    (tmp_path / "policy.toml").write_text("two_approvers = true\n")
    approve(max_rounds=2)
    with pytest.raises(PolicyError, match="is not open here: waits for a second approver"):
        policy_of().check(ask(), UPDATE.pack(), FakeWorker())
    with pytest.raises(PolicyError, match=r"'a. vogel ' has approved already; the second approver is another person"):
        approve(second="a. vogel ")
    approval = approve(second="B. Keller")
    assert (approval.max_rounds, approval.second_approver) == (2, "B. Keller")  # the first one's limits stay
    policy_of().check(ask(), UPDATE.pack(), FakeWorker())


def test_a_round_is_not_answered_for_ever(policy_of, ask, approve) -> None:
    approve()
    for _ in range(2):
        answer_under_policy(policy_of(), FakeWorker(), ask(), UPDATE.pack())  # as after restarts
    policy = policy_of()
    answer_under_policy(policy, FakeWorker(), ask(), UPDATE.pack())
    with pytest.raises(PolicyError, match="round 1 was answered 3 times, the policy allows 3; ask the coordinator why"):
        policy.check(ask(), UPDATE.pack(), FakeWorker())
    policy.check(ask(2), UPDATE.pack(), FakeWorker())


def test_too_few_cases_and_too_large_a_message(policy_of, ask, approve, tmp_path: Path) -> None:
    approve()
    with pytest.raises(PolicyError, match="this site trains on 2 cases, the policy asks for 3; add cases, or change"):
        policy_of().check(ask(), UPDATE.pack(), FakeWorker(cases=(2, 2)))
    (tmp_path / "policy.toml").write_text("max_update_bytes = 23\n")
    with pytest.raises(PolicyError, match="the message has 24 bytes, the policy allows 23; change max_update_bytes"):
        policy_of().check(ask(), UPDATE.pack(), FakeWorker())


def test_scores_of_one_case_do_not_leave(policy_of, ask, approve, tmp_path: Path) -> None:
    approve()
    (tmp_path / "policy.toml").write_text('withhold = ["train_loss"]\n')
    _, report = policy_of().release(ask(), UPDATE, REPORT, FakeWorker(cases=(6, 1)))
    assert [name for name, value in report.facts().items() if math.isnan(value)] == [
        "train_loss",
        "received_loss",
        "received_dice",
        "received_iou",
        "trained_loss",
        "trained_dice",
        "trained_iou",
    ]
    assert report.samples == 40


@pytest.mark.parametrize(
    ("update", "error", "message"),
    [
        (Update.of({"encoder.q": np.ones(4, np.float32)}), ContractError, "tensor 'head.weight' is missing"),
        (Update.of({"head.weight": np.ones((3, 2), np.float32)}), ContractError, "head.weight"),
        (UPDATE.scaled(math.nan), ContractError, "'head.weight' has values that are not finite"),
        (None, PolicyError, "tensors leave after training, and only then"),
    ],
)
def test_what_may_not_leave(policy_of, ask, approve, log: AuditLog, update: Any, error: Any, message: str) -> None:
    approve()
    with pytest.raises(error, match=message):
        policy_of().release(ask(), update, REPORT, FakeWorker())
    assert last(log)["what"] == "reply withheld"


def test_revoked_while_the_site_worked(policy_of, ask, approve, approvals: Approvals, log: AuditLog) -> None:
    approval = approve()

    class Slow(FakeWorker):
        def work(self, request: Request, packed: Packed) -> tuple[Update | None, Report]:
            approvals.revoke(approvals.find(approval.study[:8]), "C. Brandt")
            return UPDATE, REPORT

    with pytest.raises(PolicyError, match="is not open here: revoked"):
        answer_under_policy(policy_of(), Slow(), ask(), UPDATE.pack())
    assert [line["what"] for line in read_events(log.folder)] == ["request allowed", "reply withheld"]


def test_failed_work_is_in_the_log(policy_of, ask, approve, log: AuditLog) -> None:
    class Broken(FakeWorker):
        def work(self, request: Request, packed: Packed) -> tuple[Update | None, Report]:
            raise ContractError("case PATIENT-7 is broken")

    approve()
    with pytest.raises(ContractError):
        answer_under_policy(policy_of(), Broken(), ask(), UPDATE.pack())
    assert (last(log)["what"], last(log)["why"]) == ("work failed", "ContractError: case PATIENT-7 is broken")


def test_nothing_leaves_that_cannot_be_logged(policy_of, ask, approve, monkeypatch: pytest.MonkeyPatch) -> None:
    from fedsurg.errors import AuditError

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    approve()
    policy = policy_of()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(AuditError, match="No space left on device"):
        policy.release(ask(), UPDATE, REPORT, FakeWorker())


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


def test_limits_of_an_approval(approve, approvals: Approvals) -> None:
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


def test_the_commands(tiny_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from site_client.cli import site

    def run(*words: str) -> str:
        found = CliRunner().invoke(site, [*words, "--dir", str(folder)], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.stdout

    folder, file = tmp_path / "site", tmp_path / "study.toml"
    enrolled(folder, "north")
    file.write_text(tiny_text.replace("[server.pretrain]", '[server.pretrain]\nstart = "shipped"'))
    text = run("review", str(file))
    assert "marks background, shaft, wrist, clasper in pictures of 64 x 64 pixels" in text
    assert "What stays: frames, masks, file and case names" in text
    assert "machine: 2 rounds of 1 step." in text
    assert "answered, after 60 minutes at\n  the latest: 2 hours at most." in text  # 2 rounds of deadline_s = 3600
    facts = json.loads(run("review", str(file), "--json"))
    assert f"Digest of the study     {facts['digest']}" in text
    leaves = facts["leaves"]
    assert sum(row["bytes"] for row in leaves["groups"]) == leaves["bytes_per_round"]
    assert sum(row["tensors"] for row in leaves["groups"]) == len(leaves["tensors"])
    assert all(row["name"] in run("review", str(file), "--tensors") for row in leaves["tensors"][:1])
    assert "no study is approved here" in run("approvals")
    assert "method fedst: approved" in run("approve", str(file), "--approver", "A. Vogel", "--max-rounds", "1")
    (row,) = json.loads(run("approvals", "--json"))
    assert (row["study"], row["contract"], row["state"]) == (facts["digest"], facts["contract"], "approved")
    assert "revoked; nothing more of it is done here" in run("revoke", facts["digest"][:8])
    assert "revoked" in run("approvals")
    events = [json.loads(line)["what"] for line in run("audit", "show", "--json").splitlines()]
    assert events == ["study approved", "study revoked"]
    file.write_text(file.read_text().replace("rounds = 2", "rounds = 3\ndeadline_s = 310"))
    assert "answered, after 6 minutes at\n  the latest: 16 minutes at most." in run("review", str(file))  # 15.5 minutes


def enrolled(folder: Path, name: str) -> None:
    """A site's folder, as far as these commands look."""
    from site_client.site_folder import Membership, write_membership

    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    facts = {"data": "/data", "host": "fl.example.org", "port": 9443, "authority": "ab" * 32}
    write_membership(folder, Membership(site=name, **facts))


@pytest.mark.parametrize("command", ["review", "approve"])
@pytest.mark.parametrize(
    ("site", "start", "words", "message"),
    [
        (
            "north",
            "",
            [],
            r"study\.toml: server\.pretrain\.start: is empty, but all ends must begin",
        ),
        ("west", "shipped", [], r"study\.toml: sites: 'west' is not among the sites that train \(north, east\)"),
        ("harbour", "shipped", [], r"study\.toml: sites: 'harbour' is not among the sites that train"),
        ("north", "shipped", ["--method", "central"], r"methods: 'central' cannot run between hospitals"),
    ],
)
def test_studies_that_cannot_run_here(
    tiny_text: str, tmp_path: Path, command: str, site: str, start: str, words: list[str], message: str
) -> None:
    from click.testing import CliRunner

    from fedsurg.errors import StudyError
    from site_client import cli

    text = tiny_text.replace('methods = ["fedst"]', 'methods = ["fedst", "central"]')
    (tmp_path / "study.toml").write_text(text.replace("[server.pretrain]", f'[server.pretrain]\nstart = "{start}"'))
    enrolled(tmp_path / "site", site)
    done = CliRunner().invoke(
        cli.site, [command, str(tmp_path / "study.toml"), "--dir", str(tmp_path / "site"), *words]
    )
    assert isinstance(done.exception, StudyError)
    assert re.search(message, str(done.exception))
    assert not (tmp_path / "site" / "approvals").exists()


def test_a_start_file_is_found_again_from_elsewhere(
    tiny_text: str, tiny_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The approval keeps its whole path; the digest, which is of its bytes, is the coordinator's."""
    from click.testing import CliRunner

    from fedsurg.study.load import load_study
    from site_client.cli import site

    (tmp_path / "own.safetensors").write_bytes(b"any")
    (tmp_path / "study.toml").write_text(
        tiny_text.replace("[server.pretrain]", '[server.pretrain]\nstart = "own.safetensors"')
    )
    enrolled(tmp_path / "site", "north")
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(site, ["approve", "study.toml", "--dir", "site"], catch_exceptions=False)
    digest = study_digest(load_study(tmp_path / "study.toml"))
    approved = Approvals(tmp_path / "site").study(digest)
    assert approved.server.pretrain.start == str(tmp_path / "own.safetensors")


def test_export(tmp_path: Path, study: Study, approve, log: AuditLog) -> None:
    import torch
    from click.testing import CliRunner

    from fedsurg.errors import SupervisionError
    from fedsurg.supervision.lock import SupervisorLock
    from fedsurg.tensor_file import read_tensors
    from site_client.cli import site
    from site_client.site_folder import RUN
    from site_client.vault import open_vault

    def run(*words: str, fails: type[Exception] | None = None) -> Any:
        found = CliRunner().invoke(site, [*words, "--dir", str(tmp_path)])
        if fails is None or not isinstance(found.exception, fails):
            assert found.exception is None, found.output
        return found

    digest = approve().study
    enrolled(tmp_path, "north")
    assert "keep a copy elsewhere" in run("vault", "init").stdout
    files = open_vault(tmp_path / "vault", log).files(digest, "north")
    files.write("personal", {"head.weight": torch.ones(2, 3)}, {"study": digest, "iou": 0.61, "round": 2})
    assert run("vault", "check").stdout.splitlines() == [digest, "ok: every file opens"]
    out = tmp_path / "model"
    assert run("export", "--study", digest[:8], "--out", str(out)).exit_code == 0
    tensors, facts = read_tensors(out / "model.safetensors")
    assert (tensors["head.weight"].sum(), facts["site"]) == (6.0, "north")
    card = (out / "README.md").read_text()
    assert f"digest `{digest}`" in card
    assert "6 parameters in 1 tensors" in card
    assert "the model of round 2, the best on this hospital's validation cases (mean IoU 61.0 %" in card
    assert (last(log)["what"], last(log)["sha256"] in card) == ("model exported", True)
    lock = SupervisorLock(tmp_path / RUN)
    refused = run("vault", "rekey", "--new-key-file", str(tmp_path / "new.key"), fails=SupervisionError)
    assert "run fedsurg site stop first" in str(refused.exception)
    lock.release()
    moved = run("vault", "rekey", "--new-key-file", str(tmp_path / "new.key"))
    assert "2 files are sealed under the new key" in moved.stdout
    assert run("vault", "forget", digest[:8], "--yes").exit_code == 0
    assert run("vault", "check").stdout == "ok: every file opens\n"

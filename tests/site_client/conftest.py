"""One site's engine in the tiny study; a policy before a worker that does nothing."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsurg.audit import AuditLog
from fedsurg.data.site import load_site
from fedsurg.methods import plan
from fedsurg.sharing.contract import Contract, Entry
from fedsurg.sharing.protocol import Report, Request
from fedsurg.sharing.update import Packed, Update
from fedsurg.study import Study
from fedsurg.study.digest import study_digest
from fedsurg.tensor_file import read_tensors
from site_client import adaptation
from site_client.approvals import Approval, Approvals
from site_client.engine import SiteEngine, SiteSetup
from site_client.policy import Cohort, Policy
from site_client.site_files import SiteFiles

MakeEngine = Callable[..., SiteEngine]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONTRACT = Contract((Entry("head.weight", "head", "shared", (2, 3)), Entry("encoder.q", "query", "site", (4,))))
UPDATE = Update.of({"head.weight": np.ones((2, 3), np.float32)})
REPORT = Report(40, 0.5, 0.4, 0.7, 0.6, 0.3, 0.8, 0.7, 1.0, 2.0, 3.0, 4.0)


class FakeWorker:
    """A site of some cases to train on and to score; it answers with `answer`, whatever it is asked."""

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
    """Waiting for the disk to be safe is tested elsewhere."""
    monkeypatch.setattr("os.fsync", lambda _handle: None)


@pytest.fixture
def make_engine(tiny_study: Callable[..., Study], data: Path, start: Path, tmp_path: Path) -> MakeEngine:
    """The engine of site `north`; keyword arguments change the study."""
    torch.set_num_threads(1)

    def make(
        method: str = "fedst",
        folder: str = "north",
        hospitals: Path = data,
        files: SiteFiles | None = None,
        **options: Any,
    ) -> SiteEngine:
        study = tiny_study(**options)
        setup = SiteSetup(
            "north",
            [load_site(hospitals / "north", study.task)],
            tmp_path / folder,
            read_tensors(start)[0],
            torch.eye(8)[0],
            files,
        )
        return SiteEngine(plan(study, method), "study", setup, torch.device("cpu"))

    return make


@pytest.fixture
def request_of() -> Callable[..., Request]:
    """A request that an engine accepts."""

    def make(engine: SiteEngine, number: int, work: str = "train") -> Request:
        return Request("study", engine.contract.digest, number, work)

    return make


@pytest.fixture
def study(tiny_study: Callable[..., Study]) -> Study:
    """The tiny study, in three rounds."""
    return tiny_study(federation__rounds=3)


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    """The site's log; its folder is `tmp_path`."""
    return AuditLog(tmp_path / "audit", "site north")


@pytest.fixture
def approvals(tmp_path: Path) -> Approvals:
    """The site's approvals, at noon on 1 March 2026."""
    return Approvals(tmp_path, lambda: NOON)


@pytest.fixture
def policy_of(tmp_path: Path, log: AuditLog, approvals: Approvals) -> Callable[[], Policy]:
    """The site's policy, read anew."""
    return lambda: Policy(tmp_path, log, approvals)


@pytest.fixture
def ask(study: Study) -> Callable[..., Request]:
    """A request of the study: `ask(round, work)`; keyword arguments replace its fields."""

    def make(number: int = 1, work: str = "train", **fields: Any) -> Request:
        facts = {"study": study_digest(study), "contract": CONTRACT.digest, "round": number, "work": work}
        return Request(**facts | fields)

    return make


@pytest.fixture
def approve(approvals: Approvals, study: Study) -> Callable[..., Approval]:
    """Approve the study, as A. Vogel unless another name is given."""

    def make(approver: str = "A. Vogel", **options: Any) -> Approval:
        return approvals.approve(study, "fedst", CONTRACT.digest, approver, **options)

    return make


@pytest.fixture
def update() -> Update:
    """What goes to the worker and comes back from it: 24 bytes."""
    return UPDATE


@pytest.fixture
def report() -> Report:
    """What the worker says of its work."""
    return REPORT


@pytest.fixture
def worker_of() -> type[FakeWorker]:
    """A worker: `worker_of(contract, (cases to train on, cases to score))`."""
    return FakeWorker


@pytest.fixture
def check(policy_of: Callable[[], Policy], ask: Callable[..., Request]) -> Callable[..., Approval]:
    """Ask a policy that was read just now; `worker` is the site's, the rest as for `ask`."""

    def make(*words: Any, worker: FakeWorker | None = None, **fields: Any) -> Approval:
        return policy_of().check(ask(*words, **fields), UPDATE.pack(), worker or FakeWorker())

    return make


@pytest.fixture
def answer(policy_of: Callable[[], Policy], ask: Callable[..., Request]) -> Callable[..., tuple[Packed, Report]]:
    """Have a request answered under a policy that was read just now; arguments as for `check`."""

    def make(*words: Any, worker: FakeWorker | None = None, **fields: Any) -> tuple[Packed, Report]:
        return policy_of().answer(worker or FakeWorker(), ask(*words, **fields), UPDATE.pack())

    return make


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the guard of an adaptation see these IoUs, one after the other."""

    def script(*values: float) -> None:
        left = iter(values)
        monkeypatch.setattr(adaptation, "finished_iou", lambda *_a, **_k: next(left))

    return script

"""The hospital's policy: what is done for a study, and what leaves. Closed by default; each decision is logged.

It stands before and behind the site engine, which checks once more that tensors fit the contract:

    approval = policy.check(request, packed, engine)       # before the work
    update, report = engine.work(request, packed)
    packed, report = policy.release(request, update, report, engine)     # after it
"""

import hashlib
import math
import tomllib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from fedsurg.audit.log import AuditLog, Event, Line, read_events
from fedsurg.errors import FedsurgError, PolicyError, first_mistake
from fedsurg.sharing.contract import Contract
from fedsurg.sharing.protocol import Report, Request
from fedsurg.sharing.update import Packed, Update
from fedsurg.study.config import Positive, Section
from site_client.approvals import Approval, Approvals

FILE = "policy.toml"
CAME, LEFT, REFUSED, WITHHELD = "request allowed", "reply released", "request refused", "reply withheld"
SCORES = tuple(f"{when}_{what}" for when in ("received", "trained") for what in ("loss", "dice", "iou"))
METRICS = ("train_loss", *SCORES)


class PolicyConfig(Section):
    """`policy.toml` in the site's folder; without the file, the defaults."""

    two_approvers: bool = False  # a study needs two persons
    minimum_cases: Positive = 3  # training on fewer could show one patient; more, if the hospital's rules say so
    minimum_scored_cases: Positive = 2  # scores over fewer are withheld: a score of one case is a patient's
    max_update_bytes: Positive = 512 << 20  # of one message; the paper's network sends 28 MB
    max_repeats: Positive = 3  # times that one round is answered: after a crash, not to ask about many models
    withhold: tuple[str, ...] = ()  # metrics that never leave


class Worker(Protocol):
    """What the policy has to know of a site engine."""

    @property
    def contract(self) -> Contract:
        """What leaves with an update."""

    def cohort(self) -> "Cohort":
        """How many cases a round trains on, and how many the last answer's scores are over."""

    def work(self, request: Request, packed: Packed) -> tuple[Update | None, Report]:
        """Answer a request."""


@dataclass(frozen=True)
class Cohort:
    """Cases that are really used, which a study's steps, batches and `evaluation.max_frames` decide with the data.

    Args:
        trained: that one round's steps are on.
        scored: that the scores of the last answer are means over, those of the narrowest; 0: there are none.
    """

    trained: int
    scored: int


class Policy:
    """The rules of one hospital.

    Args:
        folder: of the site, with `policy.toml` and the approvals.
        audit: where every decision goes.
        approvals: those of the folder; for tests.
    """

    def __init__(self, folder: Path, audit: AuditLog, approvals: Approvals | None = None) -> None:
        self.folder, self.config = folder, read_policy(folder)
        self.approvals = approvals or Approvals(folder)
        self._audit = audit
        self._answered: Counter[tuple[str, int, str]] | None = None  # read from the log once

    def answer(self, worker: Worker, request: Request, packed: Packed) -> tuple[Packed, Report]:
        """One message's way through a hospital: checked, worked on, released; a failure is logged too.

        Raises:
            PolicyError: the hospital's rules forbid it.
            FedsurgError: the work failed.
        """
        self.check(request, packed, worker)
        try:
            update, report = worker.work(request, packed)
        except Exception as problem:
            self._note("work failed", request, Packed((), (), b""), why=f"{type(problem).__name__}: {problem}")
            raise
        return self.release(request, update, report, worker)

    def refuse(self, why: str, request: Request | None = None) -> None:
        """Write down that a request was refused before it came as far as `check`; `request`: as far as it was read."""
        event = Event(REFUSED, why=why)
        if request:
            event = replace(event, study=request.study[:64], round=request.round, facts={"work": request.work})
        self._audit.append(event)

    def check(self, request: Request, packed: Packed, worker: Worker) -> Approval:
        """Decide on a request, before anything is done.

        1. The study is approved here: by its digest, not revoked, not expired, by two persons where two are needed.
        2. The tensors that leave are those that were approved: request and engine have the approval's contract.
        3. The round was approved; the last delivery, which trains nothing, comes after the study's last round.
        4. The round was not answered too often.
        5. Enough cases are trained on.
        6. The message is not larger than allowed.

        Raises:
            PolicyError: naming the rule; it is in the log.
            FedsurgError: the worker is made now, and cannot be; likewise.
        """
        try:
            self.config = read_policy(self.folder)  # each time, like the approvals: a change acts at once
            approval = self._check(request, packed, worker)
        except FedsurgError as problem:
            self._note(REFUSED, request, packed, why=str(problem))
            raise
        self._note(CAME, request, packed, why=f"approved by {approval.approver}")
        return approval

    def release(self, request: Request, update: Update | None, report: Report, worker: Worker) -> tuple[Packed, Report]:
        """Decide on what leaves, after the work.

        1. The study is still approved: it may have been revoked while the site worked.
        2. The update holds the contract's tensors and no other, in their shapes, all values finite; the last delivery
           has none.
        3. Of the metrics, those leave that the policy lists, and scores only over enough cases; the others become NaN,
           which says that they were not measured.
        4. What leaves is in the log, with hash and size, before it leaves.

        Raises:
            PolicyError, ContractError: nothing leaves; it is in the log.
        """
        try:
            # 1.
            self._approved(request.study)
            # 2.
            if (update is None) != (request.work == "finish"):
                raise PolicyError(f"round {request.round}: tensors leave after training, and only then")
            packed = update.pack() if update else Packed((), (), b"")
            if update:
                Update.unpack(packed, worker.contract)
        except FedsurgError as problem:
            self._note(WITHHELD, request, Packed((), (), b""), why=str(problem))
            raise
        # 3.
        listed = self._listed(report, worker.cohort())
        # 4.
        self._note(LEFT, request, packed, facts={"report": _plain(listed)})
        if self._answered is not None:
            self._answered[request.study, request.round, request.work] += 1
        return packed, listed

    def _check(self, request: Request, packed: Packed, worker: Worker) -> Approval:
        # 1.
        approval = self._approved(request.study)
        # 2.
        if not request.contract == worker.contract.digest == approval.contract:
            raise PolicyError(
                f"study {request.study[:12]}: the contract {approval.contract[:12]} was approved, the request has "
                f"{request.contract[:12]} and this site {worker.contract.digest[:12]}; review the study again"
            )
        # 3.
        last = approval.max_rounds if request.work == "train" else approval.rounds + 1
        if request.round > last or (request.work == "finish" and request.round != last):
            raise PolicyError(
                f"study {request.study[:12]}: asked to {request.work} in round {request.round}, approved are "
                f"{approval.max_rounds} of {approval.rounds} rounds; approve more with --max-rounds, or leave it so"
            )
        # 4.
        answered = self._times(request)
        if answered >= self.config.max_repeats:
            raise PolicyError(
                f"study {request.study[:12]}: round {request.round} was answered {answered} times, the policy allows "
                f"{self.config.max_repeats}; ask the coordinator why, then raise max_repeats in {FILE}"
            )
        # 5.
        cohort = worker.cohort()
        if request.work == "train" and cohort.trained < self.config.minimum_cases:
            raise PolicyError(
                f"a round would train on {cohort.trained} cases here, the policy asks for "
                f"{self.config.minimum_cases}; add cases, change minimum_cases in {FILE}, or ask the coordinator for "
                "more steps or larger batches"
            )
        # 6.
        if len(packed.data) > self.config.max_update_bytes:
            raise PolicyError(
                f"the message has {len(packed.data)} bytes, the policy allows {self.config.max_update_bytes}; change "
                f"max_update_bytes in {FILE} if the study needs it"
            )
        return approval

    def _approved(self, study: str) -> Approval:
        """The approval of a study that is open today; the files are read each time, so a revocation acts at once."""
        approval = self.approvals.read(study)
        self.approvals.study(study)
        state = approval.state(today=self.approvals.today, two_approvers=self.config.two_approvers)
        if state != "approved":
            raise PolicyError(f"study {study[:12]} is not open here: {state}; see fedsurg site approvals")
        return approval

    def _listed(self, report: Report, cohort: Cohort) -> Report:
        withheld = set(self.config.withhold)
        if cohort.scored < self.config.minimum_scored_cases:
            withheld |= set(SCORES)
        unsaid: dict[str, Any] = dict.fromkeys(sorted(withheld), math.nan)
        return replace(report, **unsaid)

    def _times(self, request: Request) -> int:
        """How often a round was answered, over restarts of this process too."""
        if self._answered is None:
            lines = (line for line in read_events(self._audit.folder) if line["what"] == LEFT)
            self._answered = Counter((line["study"], line["round"], _work_of(line)) for line in lines)
        return self._answered[request.study, request.round, request.work]

    def _note(self, what: str, request: Request, packed: Packed, why: str = "", facts: object = None) -> None:
        digest = hashlib.sha256(packed.data).hexdigest() if packed.data else ""
        more = {"work": request.work, **(facts if isinstance(facts, dict) else {})}
        self._audit.append(Event(what, request.study[:64], request.round, digest, len(packed.data), why, more))


def read_policy(folder: Path) -> PolicyConfig:
    """`policy.toml` of a site; the defaults without it.

    Raises:
        PolicyError: it cannot be read, or a key is unknown or ill-typed.
    """
    path = folder / FILE
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        found = PolicyConfig.model_validate(values)
    except FileNotFoundError:
        return PolicyConfig()
    except ValidationError as problem:
        allowed = ", ".join(PolicyConfig.model_fields)
        raise PolicyError(f"{path}: {first_mistake(problem)}; keys: {allowed}") from None
    except (OSError, ValueError) as problem:
        raise PolicyError(f"{path}: cannot be read ({problem}); mend it: until then nothing is allowed") from problem
    unknown = sorted(set(found.withhold) - set(METRICS))
    if unknown:
        raise PolicyError(f"{path}: withhold: {unknown[0]!r} is no metric; known: {', '.join(METRICS)}")
    return found


def _work_of(line: Line) -> Any:
    facts = line["facts"]
    return facts.get("work") if isinstance(facts, dict) else None


def _plain(report: Report) -> dict[str, float | int | None]:
    """For the log, where NaN is null."""
    return {key: value if math.isfinite(value) else None for key, value in report.facts().items()}

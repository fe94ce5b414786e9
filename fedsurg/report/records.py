"""What the files of a run hold, as typed records; `run_folder` reads them.

Fields that a report does not need are passed over, so a run written by another version can still be read.
"""

from math import prod
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from fedsurg.study_file.holdout import left_out_name

Numbers = dict[str, float | None]


class Record(BaseModel):
    """A piece of a run's files: immutable; unknown fields are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class SiteFacts(Record):
    """A site of the study."""

    name: str
    procedure: str = ""
    role: Literal["federated", "unseen"] = "federated"


class TaskFacts(Record):
    """The classes; the first is the background."""

    classes: tuple[str, ...] = ()


class FederationFacts(Record):
    """How long the study is meant to run."""

    rounds: int


class EvaluationFacts(Record):
    """How scores were made, and how intervals are drawn."""

    folds: int = 0
    leave_one_site_out: bool = False
    unseen_cases: str = "held_out"
    tolerance_px: float = 3.0
    bootstrap: int = 2000


class StudyFacts(Record):
    """The part of a study that a report reads; the whole of it stays in `RunInfo.settings`."""

    name: str
    seed: int = 0
    methods: tuple[str, ...] = ()
    task: TaskFacts = TaskFacts()
    federation: FederationFacts
    evaluation: EvaluationFacts = EvaluationFacts()
    sites: tuple[SiteFacts, ...] = ()


class RunInfo(Record):
    """`run.json`; `wall_s` is None while the run goes on."""

    study: StudyFacts
    settings: dict[str, Any] = {}  # the resolved study as it was written
    digest: str
    versions: dict[str, str] = {}
    machine: dict[str, Any] = {}
    command: str = ""
    engine: str = ""
    started: str = ""
    wall_s: float | None = None
    simulated_sites: frozenset[str] = frozenset()

    @property
    def real_sites(self) -> list[str]:
        """Sites whose data no simulator drew, sorted: what shows them stays where the data is."""
        return sorted({site.name for site in self.study.sites} - self.simulated_sites)

    @property
    def left_out(self) -> frozenset[str]:
        """What the federated sites are called where they were left out; empty where no site was."""
        federated = [site.name for site in self.study.sites if site.role == "federated"]
        return frozenset(map(left_out_name, federated if self.study.evaluation.leave_one_site_out else ()))

    @property
    def unseen(self) -> frozenset[str]:
        """Sites that only test the global model."""
        return self.left_out | {site.name for site in self.study.sites if site.role == "unseen"}


class Tensor(Record):
    """One entry of the sharing contract."""

    name: str
    part: str
    shape: tuple[int, ...]
    dtype: str
    scope: Literal["shared", "site", "frozen"]
    bytes: int

    @property
    def parameters(self) -> int:
        """Elements."""
        return prod(self.shape)


class SiteRound(Record):
    """One site in one round: scores of the model it received and of the one it trained."""

    samples: int = 0
    received: Numbers | None = None
    trained: Numbers | None = None
    train_loss: float | None = None
    seconds: Numbers = {}


class Round(Record):
    """One line of `history.jsonl`; `bytes_out` and `bytes_in` are of one site, in one direction."""

    round: int
    sites: dict[str, SiteRound] = {}
    refused: dict[str, str] = {}
    server: Numbers = {}
    work: str = "train"  # "finish": the last average was delivered and scored, nothing was trained
    bytes_out: int = 0
    bytes_in: int = 0
    seconds: Numbers = {}


class Overlay(Record):
    """A picture of a prediction in `overlays/`; `position` is that of the frame among those a site was scored on."""

    file: str
    site: str
    model: str = ""
    position: int = 0
    case: str = ""
    caption: str = ""
    simulated: bool = False

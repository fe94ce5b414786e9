"""The runs of a coordinator: one folder per study below `runs/`, and what its files say.

runs/NAME-DIGEST12/
study.toml                      as the person gave it
run.json                        what is run: the resolved study, method, synthetic video, device
status.json                     where it stands, for people and programs
flower.json                     the Flower run that does it, and how often one died
pause                           there while a person wants a pause
contract.json, history.jsonl    as in a simulation
server/checkpoint.safetensors   after every round
server.log                      of the process that runs the rounds
global.safetensors              the shared model, when it is finished
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from fedsurg.errors import FedsurgError, RunError
from fedsurg.files import FEWEST_CHARACTERS, begins, try_lock, write_atomic
from server.layout import RUNS

State = Literal["waiting", "running", "paused", "failed", "finished"]
GOING: tuple[State, ...] = ("waiting", "running")  # a run that should be going on

LOOK_S = 0.2

T = TypeVar("T")


@dataclass(frozen=True)
class Wanted:
    """What is run: everything that the process of the rounds needs to know.

    Args:
        study: digest.
        name: of the study.
        method: row of the registry.
        settings: the resolved study as plain values, with absolute paths.
        synthetic: site folder of the server's video; empty: its method does not learn.
        device: that the server learns on.
    """

    study: str
    name: str
    method: str
    settings: dict[str, Any]
    synthetic: str = ""
    device: str = "auto"


@dataclass(frozen=True)
class Status:
    """Where a run stands.

    Args:
        study: digest.
        name: of the study.
        state: waiting (to be started), running, paused, failed (resume it with the same command), finished.
        round: of training, the last finished one.
        rounds: of training.
        sites: name -> `round` of its last used reply, `seconds` it worked for it, `doing`: asked, answered, refused.
        refused: of the last round: site -> why.
        quorum: replies that a round needs.
        bytes_in: of all replies that were used; `bytes_out` likewise of requests.
        why: it is in this state, where that needs a word.
        updated: UTC.
    """

    study: str
    name: str
    state: State
    round: int
    rounds: int
    sites: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    quorum: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    why: str = ""
    updated: str = ""


@dataclass(frozen=True)
class FlowerTry:
    """The Flower run that does a run's work: its id, the round in which it began, and its number among those of it."""

    id: int
    round: int
    number: int
    at: float


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    path: Path

    @classmethod
    def of(cls, coordinator: Path, study: str, name: str) -> Self:
        """The folder of the study with this digest."""
        return cls(coordinator / RUNS / f"{name}-{study[:12]}")

    @property
    def log(self) -> Path:
        """What the process of the rounds writes for people."""
        return self.path / "server.log"

    def wanted(self) -> Wanted:
        """What is run.

        Raises:
            RunError: it cannot be read.
        """
        return self._read("run.json", Wanted)

    def want(self, wanted: Wanted) -> None:
        """Say what is to be run."""
        self._write("run.json", asdict(wanted))

    def status(self) -> Status:
        """Where it stands.

        Raises:
            RunError: it cannot be read.
        """
        return self._read("status.json", Status)

    def update(self, status: Status) -> Status:
        """Replace the status; it gets the time."""
        status = replace(status, updated=datetime.now(UTC).isoformat(timespec="seconds"))
        self._write("status.json", asdict(status))
        return status

    def enter(self, state: State, why: str = "") -> Status:
        """Note a change of state."""
        return self.update(replace(self.status(), state=state, why=why))

    def flower(self) -> FlowerTry | None:
        """The Flower run that was submitted last."""
        return self._read("flower.json", FlowerTry) if (self.path / "flower.json").exists() else None

    def submitted(self, flower: FlowerTry) -> None:
        """Note a Flower run."""
        self._write("flower.json", asdict(flower))

    def forget_flower(self) -> None:
        """Begin to count anew."""
        (self.path / "flower.json").unlink(missing_ok=True)

    @property
    def pause_wanted(self) -> bool:
        """A person asked for a pause."""
        return (self.path / "pause").exists()

    def want_pause(self, wanted: bool = True) -> None:
        """Ask for a pause after the present round, or take that back."""
        if wanted:
            write_atomic(self.path / "pause", "")
        else:
            (self.path / "pause").unlink(missing_ok=True)

    @contextlib.contextmanager
    def held(self, flower: int = 0, wait_s: float = 0.0) -> Iterator[None]:
        """Hold the run: one process at a time does its rounds. A predecessor that is about to end is waited for.

        Args:
            flower: id of the Flower run that the process belongs to.
            wait_s: for the predecessor.

        Raises:
            RunError: another process has it.
        """
        deadline = time.monotonic() + wait_s
        with (self.path / "lock").open("a+") as lock:
            while not try_lock(lock.fileno()):
                if time.monotonic() > deadline:
                    raise RunError(f"{self.path}: its rounds are run already; fedsurg server status shows how far")
                time.sleep(LOOK_S)
            lock.truncate(0)
            lock.write(f"{os.getpid()} {flower}")
            lock.flush()
            yield

    def holder(self) -> tuple[int, int]:
        """Process number of who holds the run (0: nobody), and the Flower run of who held it last."""
        try:
            with (self.path / "lock").open() as lock:
                process, flower = map(int, lock.read().split())
                return 0 if try_lock(lock.fileno()) else process, flower
        except (OSError, ValueError):
            return 0, 0

    def _read(self, name: str, kind: type[T]) -> T:
        path = self.path / name
        try:
            values = json.loads(path.read_text("utf-8"))
            known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
            return kind(**{key: value for key, value in values.items() if key in known})
        except (OSError, ValueError, TypeError, AttributeError) as problem:
            raise RunError(
                f"{path}: cannot be read ({problem}); give the study to fedsurg server run again"
            ) from problem

    def _write(self, name: str, values: dict[str, Any]) -> None:
        write_atomic(self.path / name, json.dumps(values, indent=1))


def runs_of(coordinator: Path) -> list[RunFolder]:
    """All runs that were ever begun, by name."""
    return [RunFolder(path.parent) for path in sorted((coordinator / RUNS).glob("*/status.json"))]


def statuses(coordinator: Path) -> Iterator[Status]:
    """Where all runs stand; one whose file is damaged is left out."""
    for run in runs_of(coordinator):
        with contextlib.suppress(FedsurgError):
            yield run.status()


def find_run(coordinator: Path, word: str) -> RunFolder:
    """The run that a person means: by the study's name, 8 or more characters of its digest, or its file.

    Raises:
        RunError: there is none, or there are several.
    """
    digest = ""
    if word.endswith(".toml"):
        from fedsurg.study.digest import study_digest
        from fedsurg.study_file.load import load_study

        digest = study_digest(load_study(Path(word)))
    named, meant, known = [], [], []
    for run in runs_of(coordinator):
        with contextlib.suppress(FedsurgError):
            status = run.status()
            known.append(f"{status.name} ({status.study[:12]})")
            if word == status.name:
                named.append(run)
            elif begins(status.study, digest or word):
                meant.append(run)
    found = named or meant
    if len(found) == 1:
        return found[0]
    have = ", ".join(known) or "there is no run yet"
    if found:
        raise RunError(f"{word}: {len(found)} runs in {coordinator} have this name; give the digest ({have})")
    raise RunError(
        f"{word or 'no word'}: no such run in {coordinator}; give a name, {FEWEST_CHARACTERS} or more characters of a "
        f"digest, or the study's file; known: {have}"
    )

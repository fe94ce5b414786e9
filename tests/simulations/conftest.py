"""One uninterrupted run of FedST, with every byte that crossed the wire."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from simulations.job import Job
from simulations.run_job import run_job


@dataclass
class Straight:
    """A finished job, its rounds, and all messages as they were serialised."""

    job: Job
    rounds: list[dict[str, Any]] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.job.folder


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk to be safe is tested elsewhere."""
    monkeypatch.setattr("os.fsync", lambda _handle: None)


def _finished(job: Job) -> Straight:
    """The job, run to its end on a fast disk: what serves several tests is made before `_fast_disk` is there."""
    run = Straight(job)
    with pytest.MonkeyPatch.context() as patch, recorded(run.messages):
        patch.setattr("os.fsync", lambda _handle: None)
        run_job(run.job, run.rounds.append, lambda: False)
    return run


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory, job_in: Callable[..., Job]) -> Straight:
    return _finished(job_in(tmp_path_factory.mktemp("straight") / "run"))


@pytest.fixture(scope="session")
def run_of(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, job_in: Callable[..., Job]
) -> Iterator[Straight]:
    """A finished run of the method that the test is for (parametrized indirectly): one round of three local steps.

    pytest runs all tests of a method one after another, so each run is made once, and none stays, not even where
    a test failed: together their models and messages fill gigabytes.
    """
    method: str = request.param
    folder = tmp_path_factory.mktemp(method)
    try:
        yield _finished(job_in(folder / "run", method, federation__rounds=1, local__steps=3))
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def wire() -> Iterator[list[bytes]]:
    """Every message of the test, serialised."""
    messages: list[bytes] = []
    with recorded(messages):
        yield messages


@pytest.fixture
def timeless() -> Callable[[Iterable[dict[str, Any]]], list[dict[str, Any]]]:
    """A history without what no two runs share: seconds."""

    def strip(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        plain: list[dict[str, Any]] = json.loads(json.dumps(list(history)))
        for record in plain:
            record.pop("seconds")
            for site in record["sites"].values():
                site.pop("seconds")
        return plain

    return strip


@contextmanager
def recorded(messages: list[bytes]) -> Iterator[None]:
    """Write down all that the inline engine serialises."""
    from flwr.common.serde import message_to_proto

    import simulations.inline

    carry = simulations.inline._over_the_wire

    def carry_and_record(message: Any) -> Any:
        messages.append(message_to_proto(message).SerializeToString())
        return carry(message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulations.inline, "_over_the_wire", carry_and_record)
        yield

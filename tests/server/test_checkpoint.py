"""The server's checkpoint: what is damaged or foreign is refused, what is there stays good."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsurg.errors import CheckpointError
from fedsurg.sharing.contract import Contract, Entry
from fedsurg.sharing.update import Update
from fedsurg.tensor_file import read_tensors, write_tensors
from server.checkpoint import CheckpointStore, ServerState

CONTRACT = Contract((Entry("body", "encoder", "shared", (2, 3)), Entry("query", "query", "site", (5,))))
STATE = ServerState(
    3,
    Update.of({"body": np.arange(6, dtype=np.float32).reshape(2, 3)}),
    {"pre/body": torch.ones(2, 3), "guard": torch.tensor([0.1, 0.0], dtype=torch.float64)},
    ({"round": 1, "sites": {"north": {"samples": 3}}}, {"round": 2}, {"round": 3}),
)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "server", "study-a", CONTRACT)


def test_none_yet(store: CheckpointStore) -> None:
    assert store.load() is None


def test_what_is_saved_is_loaded(store: CheckpointStore) -> None:
    store.save(STATE)
    found = store.load()
    assert found is not None
    assert (found.round, found.history, found.finished) == (3, STATE.history, False)
    assert found.shared.vector.tobytes() == STATE.shared.vector.tobytes()
    assert found.step.keys() == STATE.step.keys()
    assert all(torch.equal(found.step[name], value) for name, value in STATE.step.items())


def test_of_another_study(store: CheckpointStore, tmp_path: Path) -> None:
    store.save(STATE)
    other = CheckpointStore(tmp_path / "server", "study-b", CONTRACT)
    with pytest.raises(
        CheckpointError,
        match=r"checkpoint\.safetensors: belongs to another study \(study-a, this one is study-b\); resume with the",
    ):
        other.load()


def test_of_another_contract(store: CheckpointStore, tmp_path: Path) -> None:
    store.save(STATE)
    wider = Contract((Entry("body", "encoder", "shared", (2, 4)), *CONTRACT.entries[1:]))
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors: belongs to another contract"):
        CheckpointStore(tmp_path / "server", "study-a", wider).load()


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated(store: CheckpointStore, keep: int) -> None:
    store.save(STATE)
    content = store.path.read_bytes()
    store.path.write_bytes(content[:keep])
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors: cannot be read .*delete it or restore it"):
        store.load()


def test_a_tensor_is_gone(store: CheckpointStore) -> None:
    store.save(STATE)
    tensors, facts = read_tensors(store.path)
    write_tensors(store.path, {name: v for name, v in tensors.items() if name != "shared/body"}, facts)
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors: lacks .*shared/body"):
        store.load()


@pytest.mark.parametrize("writes", [0, 1])
def test_the_disk_is_full(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """While the first file is written, and while the second one is."""
    store.save(STATE)
    before = store.path.read_bytes()
    real, calls = os.fsync, iter(range(10))

    def full(handle: int) -> Any:
        if next(calls) >= 2 * writes:  # the file and its folder
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle)

    monkeypatch.setattr(os, "fsync", full)
    later = ServerState(4, STATE.shared.scaled(2), STATE.step, (*STATE.history, {"round": 4}))
    with pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\); free some space"):
        store.save(later)
    monkeypatch.undo()
    assert store.path.read_bytes() == before
    found = store.load()
    assert found is not None
    assert found.round == 3
    assert sorted(path.name for path in store.path.parent.iterdir()) == ["checkpoint.safetensors"]
    assert sorted(path.name for path in store.path.parent.parent.iterdir()) == ["history.jsonl", "server"]


def test_the_history_is_never_behind_the_state(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Died between the two files: the history is one round ahead, and the repeated round writes it again."""
    import server.checkpoint

    def die(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(server.checkpoint, "write_tensors", die)
    with pytest.raises(KeyboardInterrupt):
        store.save(STATE)
    assert len((store.path.parent.parent / "history.jsonl").read_text().splitlines()) == 3
    assert store.load() is None

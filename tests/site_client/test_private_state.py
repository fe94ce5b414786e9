"""Private state on the site's disk: whole or not at all, two rounds back, refused when foreign."""

import errno
import logging
import os
from pathlib import Path

import pytest
import torch

from fedsurg.errors import CheckpointError
from site_client.private_state import PrivateState, PrivateStore
from site_client.site_files import PlainFiles


def state(number: int) -> PrivateState:
    return PrivateState(
        number,
        {"encoder.q.weight": torch.full((2, 2), float(number))},
        {"exp_avg/encoder.q.weight": torch.ones(2, 2) * number, "step/encoder.q.weight": torch.tensor(float(number))},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "private"


@pytest.fixture
def store(folder: Path) -> PrivateStore:
    return PrivateStore(PlainFiles(folder.parent, "north"), "study-a", "north")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_none_before_the_first_round(store: PrivateStore, folder: Path) -> None:
    assert store.before(1) is None
    assert not folder.exists()


def test_what_is_saved_is_found_and_two_rounds_are_kept(store: PrivateStore, folder: Path) -> None:
    for number in (1, 2, 3):
        store.save(state(number))
    assert names(folder) == ["round-000002.safetensors", "round-000003.safetensors"]
    found = store.before(4)
    assert found is not None
    assert found.round == 3
    for group in ("tensors", "optimiser"):
        expected = getattr(state(3), group)
        assert getattr(found, group).keys() == expected.keys()
        assert all(torch.equal(getattr(found, group)[name], value) for name, value in expected.items())


def test_a_skipped_round_takes_the_newest(store: PrivateStore) -> None:
    store.save(state(2))
    found = store.before(7)
    assert found is not None
    assert found.round == 2


def test_the_site_goes_back_with_the_server(store: PrivateStore, folder: Path) -> None:
    for number in (1, 2, 3):
        store.save(state(number))
    found = store.before(3)
    assert found is not None
    assert found.round == 2
    assert names(folder) == ["round-000002.safetensors"]


def test_going_back_further_than_what_is_kept_is_said(store: PrivateStore, caplog: pytest.LogCaptureFixture) -> None:
    for number in (1, 2, 3):
        store.save(state(number))
    with caplog.at_level(logging.WARNING, "fedsurg.site"):
        assert store.before(2) is None
    assert "site north: no private state is left from before round 2; it begins anew" in caplog.text


def test_beginning_again_is_nothing_to_warn_of(store: PrivateStore, caplog: pytest.LogCaptureFixture) -> None:
    store.save(state(1))
    assert store.before(1) is None
    assert caplog.text == ""


@pytest.mark.parametrize(("study", "site"), [("study-b", "north"), ("study-a", "south")])
def test_foreign_state(store: PrivateStore, folder: Path, study: str, site: str) -> None:
    store.save(state(1))
    with pytest.raises(CheckpointError, match=r"is the private state of site 'north' in study study-a, not of"):
        PrivateStore(PlainFiles(folder.parent, site), study, site).before(2)
    assert names(folder) == ["round-000001.safetensors"]


def test_a_truncated_file(store: PrivateStore, folder: Path) -> None:
    store.save(state(1))
    path = folder / "round-000001.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=r"round-000001\.safetensors: cannot be read"):
        store.before(2)


def test_the_disk_is_full(store: PrivateStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for number in (1, 2):
        store.save(state(number))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        store.save(state(3))
    monkeypatch.undo()
    assert names(folder) == ["round-000001.safetensors", "round-000002.safetensors"]
    found = store.before(3)
    assert found is not None
    assert found.round == 2


def test_other_files_are_left_alone(store: PrivateStore, folder: Path) -> None:
    store.save(state(5))
    (folder / ".round-000006.safetensors.abcd").write_bytes(b"half a file of a crash")
    (folder / "notes.txt").touch()
    found = store.before(9)
    assert found is not None
    assert found.round == 5
    assert "notes.txt" in names(folder)

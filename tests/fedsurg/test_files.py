"""Files are whole or absent."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsurg.errors import CheckpointError, RunError
from fedsurg.files import canonical_json, derived_seed, digest_of, file_lock, require_writable, try_lock, write_atomic


def test_writes_and_makes_folders(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b" / "file.txt", "text")
    write_atomic(tmp_path / "a" / "b" / "file.txt", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "file.txt").read_bytes() == b"\x00\xff"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), _full)
    with pytest.raises(CheckpointError, match=r"file: cannot be written \(No space left on device\); free some space"):
        write_atomic(path, "new", error=CheckpointError)
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_stopped_write_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_handle: int) -> None:
        raise KeyboardInterrupt

    write_atomic(tmp_path / "file", "old")
    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file/inside: cannot be written \((File exists|Not a directory)\)"):
        write_atomic(tmp_path / "file" / "inside", "text")


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _plain, min_size=2))
def test_the_digest_does_not_depend_on_the_order_of_keys(table: dict[str, object]) -> None:
    assert digest_of(table) == digest_of(dict(reversed(table.items())))


def test_canonical_json_by_hand() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "ü"}) == '{"a":"ü","b":[1,2.5]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_derived_seeds_differ_by_every_part() -> None:
    seeds = [derived_seed(1, "local", "north", 1), derived_seed(1, "local", "north", 2), derived_seed(1, "local", "n1")]
    assert len({*seeds, derived_seed(2, "local", "north", 1), derived_seed(1, "localnorth", 1)}) == 5
    assert derived_seed(1, "local", "north", 1) == seeds[0]
    assert all(0 <= seed < 2**63 for seed in seeds)


def _full(*_arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_lock_is_held_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with file_lock(path), path.open() as other:
        assert not try_lock(other.fileno())
    with path.open() as other:
        assert try_lock(other.fileno())


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    lock = file_lock(tmp_path / "gone" / "lock", error=CheckpointError)
    with pytest.raises(CheckpointError, match=r"gone: cannot be written \(No such file or directory\)"), lock:
        pass


def test_a_name_that_no_file_can_have_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be the name of a file"):
        require_writable(tmp_path / ("x" * 300))

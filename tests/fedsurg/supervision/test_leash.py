"""The child's log: rotated, and never a reason for the child to stop."""

import stat
from pathlib import Path

import pytest

from fedsurg.supervision.leash import RotatedLog


def test_rotation_keeps_the_newest(tmp_path: Path) -> None:
    log = RotatedLog(tmp_path / "one.log", 10, 2)
    for word in (b"aaaaaa\n", b"bbbbbb\n", b"cccccc\n", b"dddddd\n"):
        log.write(word)
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {"one.log": b"dddddd\n", "one.log.1": b"cccccc\n", "one.log.2": b"bbbbbb\n"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_full_disk_is_said_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RotatedLog(tmp_path / "one.log", 1000, 2)

    def full(handle: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        log.write(b"lost\n")
    log.write(b"kept\n")
    assert (tmp_path / "one.log").read_bytes() == b"-- 5 bytes of this log could not be written\nkept\n"

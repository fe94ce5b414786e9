"""Private folders for what is not finished yet: beside the result, and gone however a run ends."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fedsurg.errors import SimulatorError
from fedsurg.simulator.places import scratch_beside, wait_for


def test_a_scratch_folder_is_private_and_of_one_run(tmp_path: Path) -> None:
    out = tmp_path / "new" / "cut"
    with scratch_beside(out) as one, scratch_beside(out) as two:
        assert one != two
        for folder in (one, two):
            (folder / "picture").write_text("")
            assert (folder.parent, folder.stat().st_mode & 0o777) == (out.parent, 0o700)
    assert not list(out.parent.iterdir())


def test_what_a_killed_run_left_goes_and_what_another_holds_stays(tmp_path: Path) -> None:
    left, held, other = (tmp_path / f".{name}.partial" for name in ("c[u]t.aaaaaaaa", "c[u]t.bbbbbbbb", "cut.aaaaaaaa"))
    for folder in (left, held, other):
        folder.mkdir()
        (folder / "picture").write_text("")
    handle = os.open(held, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with scratch_beside(tmp_path / "c[u]t"):
        assert [folder.exists() for folder in (left, held, other)] == [False, True, True]
    os.close(handle)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_stopped_run_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import os, pathlib, signal, sys, time\n"
        "from fedsurg.simulator.places import scratch_beside, wait_for\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore both\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with scratch_beside(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'picture').write_text('')\n"
        "    os.kill(os.getpid(), int(sys.argv[2]))\n"
        "    time.sleep(60)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "cut"), str(int(number))]
    assert subprocess.run(words, check=False, capture_output=True, timeout=50).returncode != 0
    assert not list(tmp_path.iterdir())


def test_signals_are_left_as_they_were(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with scratch_beside(tmp_path / "cut"):
        pass
    assert signal.getsignal(signal.SIGTERM) == before
    made: list[bool] = []

    def in_a_thread() -> None:
        with scratch_beside(tmp_path / "cut") as folder:
            made.append(folder.exists())

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert made == [True]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = pytest.raises(SimulatorError, match=r"file/cut: cannot be written \(.*\); check permissions")
    with refused, scratch_beside(tmp_path / "file" / "cut"):
        pass


def test_who_waits_for_another_process_is_told_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    wait_for(first, tmp_path)
    assert not caplog.records
    waiting = threading.Thread(target=wait_for, args=(second, tmp_path))
    waiting.start()
    while not caplog.records:
        waiting.join(0.01)
        assert waiting.is_alive()
    os.close(first)
    waiting.join(10)
    assert not waiting.is_alive()
    assert caplog.messages == [f"{tmp_path}: another process writes the same there; waiting for it"]
    os.close(second)


def test_a_disk_without_locks_is_no_reason_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_handle: int, _kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    handle = os.open(tmp_path, os.O_RDONLY)
    wait_for(handle, tmp_path)
    os.close(handle)

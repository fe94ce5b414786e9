"""Appending: chained, whole, over files and processes, after a crash, on a full disk."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fedsurg.audit import AuditLog, Event, Head, verify_log
from fedsurg.audit.log import FIELDS, FIRST, log_files, read_events
from fedsurg.errors import AuditError

MakeLog = Callable[..., AuditLog]


def only_file(log: AuditLog) -> Path:
    (path,) = log_files(log.folder)
    return path


def test_an_empty_log(make_log: MakeLog) -> None:
    assert make_log().head() == Head(0, FIRST)


def test_a_line_says_all(log: AuditLog) -> None:
    lines = only_file(log).read_bytes().splitlines()
    last = json.loads(lines[2])
    assert tuple(sorted(last)) == tuple(sorted(FIELDS))
    assert {key: last[key] for key in ("sequence", "time", "who", "what", "round", "bytes")} == {
        "sequence": 3,
        "time": "2026-03-01T12:00:00.000+00:00",
        "who": "site hospital-a",
        "what": "update left",
        "round": 3,
        "bytes": 300,
    }
    assert last["before"] == hashlib.sha256(lines[1]).hexdigest()
    assert json.loads(lines[0])["before"] == FIRST
    assert log.head() == Head(3, hashlib.sha256(lines[2]).hexdigest())


def test_only_the_owner_reads_it(log: AuditLog) -> None:
    assert only_file(log).stat().st_mode & 0o777 == 0o600
    assert log.folder.stat().st_mode & 0o777 == 0o700


def test_the_chain_goes_on_over_files(make_log: MakeLog) -> None:
    log = make_log(rotate_bytes=600)
    for number in range(1, 6):
        log.append(Event("update left", round=number))
    names = [path.name for path in log_files(log.folder)]
    assert names == ["audit-0000000001.jsonl", "audit-0000000003.jsonl", "audit-0000000005.jsonl"]
    assert [line["round"] for line in read_events(log.folder)] == [1, 2, 3, 4, 5]
    assert verify_log(log.folder).head == log.head()


def test_a_new_file_that_a_crash_left_empty(make_log: MakeLog) -> None:
    log = make_log(rotate_bytes=1)
    log.append(Event("one"))
    (log.folder / "audit-0000000002.jsonl").touch()
    assert log.head().sequence == 1
    log.append(Event("two"))
    assert [path.name for path in log_files(log.folder)] == ["audit-0000000001.jsonl", "audit-0000000002.jsonl"]
    assert verify_log(log.folder).head.sequence == 2


@pytest.mark.parametrize("torn", [b'{"before":"12', b"\0" * 300_000])
def test_a_torn_line_is_set_aside_and_told(log: AuditLog, torn: bytes) -> None:
    path = only_file(log)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    (note,) = verify_log(log.folder).notes
    assert note == f"{path}: line 4 is half-written; the next line's writer sets it aside"
    assert log.append(Event("study approved")).sequence == 5
    told, after = list(read_events(log.folder))[3:]
    assert (told["what"], told["bytes"], after["what"]) == ("torn line set aside", len(torn), "study approved")
    assert (log.folder / told["facts"]["file"]).read_bytes() == torn
    assert path.read_bytes().startswith(whole)
    assert verify_log(log.folder).notes == []


def test_a_torn_first_line(make_log: MakeLog) -> None:
    log = make_log()
    log.folder.mkdir()
    (log.folder / "audit-0000000001.jsonl").write_bytes(b'{"be')
    assert log.append(Event("one")).sequence == 2
    assert verify_log(log.folder).head.sequence == 2


def test_a_torn_line_that_nobody_tells_of(log: AuditLog) -> None:
    (log.folder / "torn-0000000003-12345678.bin").write_bytes(b"{")
    (note,) = verify_log(log.folder).notes
    assert note.endswith("torn-0000000003-12345678.bin: a half-written line that no line of the log tells of")


def test_nothing_is_added_to_a_changed_last_line(log: AuditLog) -> None:
    path = only_file(log)
    path.write_bytes(path.read_bytes().replace(b'"bytes":300', b'"bytes":301'))
    with pytest.raises(AuditError, match=r"audit-0000000001\.jsonl: the last line was changed; nothing is added"):
        log.append(Event("study approved"))


def test_the_disk_is_full(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = only_file(log).read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AuditError, match=r"cannot be read or written .No space left on device.; free some space"):
        log.append(Event("study approved"))
    monkeypatch.undo()
    assert only_file(log).read_bytes() == before


def test_a_line_that_went_in_by_half_is_taken_back(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = only_file(log).read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:10]))
    with pytest.raises(AuditError, match="No space left on device"):
        log.append(Event("study approved"))
    monkeypatch.undo()
    assert only_file(log).read_bytes() == before


def test_an_event_is_one_line_of_ascii_and_not_too_long(log: AuditLog) -> None:
    log.append(Event("failed", why="two\nlines \u2028 and \udce9" + "x" * 2000))
    line = only_file(log).read_bytes().splitlines()[3]
    assert line.isascii()
    assert len(json.loads(line)["why"]) == 1000
    with pytest.raises(AuditError, match=r"an event of .* bytes is too long, the limit is 65536"):
        log.append(Event("failed", facts={"text": "x" * 70_000}))
    assert log.head().sequence == 4


def test_two_processes_write_one_chain(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fedsurg.audit import AuditLog, Event\n"
        "log = AuditLog(Path(sys.argv[1]), sys.argv[2], rotate_bytes=2000)\n"
        "for n in range(1, 26): log.append(Event('update left', round=n))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log"), who]) for who in ("a", "b")]
    assert [run.wait(60) for run in runs] == [0, 0]
    assert verify_log(tmp_path / "log").head.sequence == 50
    for who in ("a", "b"):
        rounds = [line["round"] for line in read_events(tmp_path / "log") if line["who"] == who]
        assert rounds == list(range(1, 26))

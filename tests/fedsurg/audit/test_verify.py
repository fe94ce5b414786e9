"""Verification: each way to change a log is found, by file and line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fedsurg.audit import (
    AuditLog,
    Event,
    SignedHead,
    accept_new_log,
    keep_head,
    kept_heads,
    sign_head,
    verify_head,
    verify_log,
)
from fedsurg.audit.log import encoded, log_files, own_digest, read_events
from fedsurg.cli.audit import read_heads
from fedsurg.errors import AuditError

MakeLog = Callable[..., AuditLog]


def change(log: AuditLog, number: int, edit: Callable[[bytes], bytes]) -> None:
    """Another line `number` (from 1) in the log's one file."""
    (path,) = log_files(log.folder)
    lines = path.read_bytes().split(b"\n")
    lines[number - 1] = edit(lines[number - 1])
    path.write_bytes(b"\n".join(line for line in lines if line != b"GONE"))


def forged(line: bytes) -> bytes:
    values = json.loads(line) | {"bytes": 7}
    return encoded(values | {"own": own_digest(values)})


def test_a_good_log(log: AuditLog) -> None:
    found = verify_log(log.folder)
    assert (found.files, found.head, found.heads, found.notes) == (1, log.head(), 0, [])


@pytest.mark.parametrize(
    ("number", "edit", "message"),
    [
        (2, lambda line: line.replace(b":200", b":201"), r"jsonl: line 2: was changed after it was written"),
        (3, lambda line: line.replace(b":300", b":301"), r"jsonl: line 3: was changed after it was written"),
        (2, lambda line: line.replace(b",", b", ", 1), r"jsonl: line 2: is not written as this log writes"),
        (2, lambda line: line[:-1], r"jsonl: line 2: is no JSON"),
        (2, lambda line: b"[]", r"jsonl: line 2: has other fields than sequence, time"),
        (2, lambda line: line.replace(b'"why"', b'"wry"'), r"jsonl: line 2: has other fields"),
        (2, lambda line: b"GONE", r"jsonl: line 2: has number 3, expected 2; lines are missing"),
        (2, forged, r"jsonl: line 3: does not follow from the line before it; that line or this one was changed"),
    ],
)
def test_a_changed_line_is_named(log: AuditLog, number: int, edit: Callable[[bytes], bytes], message: str) -> None:
    change(log, number, edit)
    with pytest.raises(AuditError, match=message):
        verify_log(log.folder)


def test_every_single_byte_counts(log: AuditLog) -> None:
    (path,) = log_files(log.folder)
    whole = path.read_bytes()
    for place in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(AuditError, match="line "):
            verify_log(log.folder)


def test_missing_files(make_log: MakeLog) -> None:
    log = make_log(rotate_bytes=1)
    with pytest.raises(AuditError, match="holds no audit log; give the folder with --dir"):
        verify_log(log.folder)
    for _ in range(3):
        log.append(Event("one"))
    first, second, _ = log_files(log.folder)
    second.rename(second.with_suffix(".gone"))
    with pytest.raises(AuditError, match=r"audit-0000000003\.jsonl: line 1: the log ends with 1 before it; a file is"):
        verify_log(log.folder)
    first.unlink()
    with pytest.raises(AuditError, match=r"is the first file, but begins with line 3; older files are gone"):
        verify_log(log.folder)


def test_a_torn_line_in_an_older_file(make_log: MakeLog) -> None:
    log = make_log(rotate_bytes=1)
    for _ in range(2):
        log.append(Event("one"))
    with log_files(log.folder)[0].open("ab") as file:
        file.write(b"{")
    with pytest.raises(AuditError, match=r"audit-0000000001\.jsonl: line 2: is half-written, but a newer file follows"):
        verify_log(log.folder)


def test_heads_are_signed_and_fit(log: AuditLog, hospital, coordinator) -> None:
    early = sign_head(log, "hospital-a", hospital.key)
    log.append(Event("update left", round=4))
    heads = [early, sign_head(log, "hospital-a", hospital.key)]
    assert [head.sequence for head in heads] == [3, 4]
    assert verify_log(log.folder, heads, [coordinator.certificate, hospital.certificate]).heads == 2
    assert SignedHead.from_facts(early.facts()) == early
    verify_head(sign_head(log, "coordinator", coordinator.key), [coordinator.certificate])  # the other curve


def test_a_rewritten_log_contradicts_the_head(log: AuditLog, hospital, make_log: MakeLog) -> None:
    head = sign_head(log, "hospital-a", hospital.key)
    other = make_log("rewritten")
    for number in (1, 2, 3, 4):
        other.append(Event("nothing left", round=number))
    assert verify_log(other.folder).head.sequence == 4
    with pytest.raises(AuditError, match=r"line 3 of the log is not the one that was signed at .*; it was rewritten"):
        verify_log(other.folder, [head], [hospital.certificate])


def test_a_log_that_was_cut(log: AuditLog, hospital) -> None:
    head = sign_head(log, "hospital-a", hospital.key)
    change(log, 3, lambda line: b"GONE")
    assert verify_log(log.folder).head.sequence == 2
    with pytest.raises(AuditError, match=r"ends with line 2, but was signed with 3 lines at .*; its end was cut off"):
        verify_log(log.folder, [head], [hospital.certificate])


@pytest.mark.parametrize(
    "field",
    [{"sequence": 4}, {"sha256": "00" * 32}, {"log": "hospital-b"}, {"time": "2026-03-02"}, {"signature": "AAAA"}],
)
def test_a_changed_head(log: AuditLog, hospital, field: dict) -> None:
    head = SignedHead.from_facts(sign_head(log, "hospital-a", hospital.key).facts() | field)
    with pytest.raises(AuditError, match="is not signed by that end's key"):
        verify_head(head, [hospital.certificate])


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"log": "\\ud800", "sequence": 1, "sha256": "", "time": "", "signature": ""}']
)
def test_a_file_of_heads_that_holds_none_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "heads.jsonl").write_text(text)
    with pytest.raises(AuditError, match=r"heads.jsonl: cannot be read|has halves of letters"):
        read_heads(tmp_path / "heads.jsonl")


def test_a_head_of_a_foreign_key_or_without_its_form(log: AuditLog, hospital, coordinator) -> None:
    head = sign_head(log, "hospital-a", coordinator.key)
    with pytest.raises(AuditError, match="the head of 'hospital-a' at line 3 is not signed by that end's key"):
        verify_head(head, [hospital.certificate])
    facts = head.facts()
    for signature in ("?", "ü", ""):
        with pytest.raises(AuditError, match="is not signed by that end's key"):
            verify_head(SignedHead.from_facts(facts | {"signature": signature}), [hospital.certificate])
    with pytest.raises(AuditError, match="fields of the wrong type"):
        SignedHead.from_facts(facts | {"sequence": "3"})
    with pytest.raises(AuditError, match="expected"):
        SignedHead.from_facts(facts | {"extra": 1})


def test_kept_heads_are_events_and_never_go_back(log: AuditLog, make_log: MakeLog, hospital) -> None:
    server = make_log("server")
    first = sign_head(log, "hospital-a", hospital.key)
    log.append(Event("update left", round=4))
    second = sign_head(log, "hospital-a", hospital.key)
    for head in (first, second, second):
        keep_head(server, head, "hospital-a", [hospital.certificate])
    assert [head.sequence for head in kept_heads(server.folder, "hospital-a")] == [3, 4, 4]
    with pytest.raises(AuditError, match="had 4 lines and now shows 3: it was cut or replaced"):
        keep_head(server, first, "hospital-a", [hospital.certificate])
    other = make_log("rewritten")
    for number in (1, 2, 3, 4):
        other.append(Event("nothing left", round=number))
    with pytest.raises(AuditError, match="line 4 of the log 'hospital-a' is another one than before: it was rewritten"):
        keep_head(server, sign_head(other, "hospital-a", hospital.key), "hospital-a", [hospital.certificate])
    with pytest.raises(AuditError, match="the other end is 'hospital-b', its head is of the log 'hospital-a'"):
        keep_head(server, second, "hospital-b", [hospital.certificate])
    assert [line["what"] for line in read_events(server.folder)][3:] == ["head of the other end REFUSED"] * 2


def test_what_was_kept_is_known_after_a_restart(
    log: AuditLog, make_log: MakeLog, hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_log("server")
    first = sign_head(log, "hospital-a", hospital.key)
    log.append(Event("update left", round=4))
    keep_head(server, sign_head(log, "hospital-a", hospital.key), "hospital-a", [hospital.certificate])
    monkeypatch.setattr("fedsurg.audit.heads._newest", {})
    with pytest.raises(AuditError, match="it was cut or replaced"):
        keep_head(server, first, "hospital-a", [hospital.certificate])


def test_a_person_accepts_that_a_log_begins_anew(log: AuditLog, make_log: MakeLog, hospital) -> None:
    server, anew = make_log("server"), make_log("anew")
    keep_head(server, sign_head(log, "hospital-a", hospital.key), "hospital-a", [hospital.certificate])
    anew.append(Event("vault made"))
    first = sign_head(anew, "hospital-a", hospital.key)
    with pytest.raises(AuditError, match="had 3 lines and now shows 1"):
        keep_head(server, first, "hospital-a", [hospital.certificate])
    with pytest.raises(AuditError, match="has no head of a log 'hospital-b'"):
        accept_new_log(server, "hospital-b", "disk lost", "user keller")
    assert accept_new_log(server, "hospital-a", "disk lost", "user keller") == 1
    keep_head(server, first, "hospital-a", [hospital.certificate])
    assert [head.sequence for head in kept_heads(server.folder, "hospital-a")] == [1]
    (line,) = (line for line in read_events(server.folder) if line["what"] == "new log of the other end accepted")
    assert (line["who"], line["why"], line["facts"]) == ("user keller", "disk lost", {"log": "hospital-a", "line": 3})
    with pytest.raises(AuditError, match="had 1 lines and now shows 0"):
        keep_head(
            server, sign_head(make_log("empty"), "hospital-a", hospital.key), "hospital-a", [hospital.certificate]
        )


def test_commands(log: AuditLog, make_log: MakeLog, hospital, tmp_path: Path) -> None:
    from click.testing import CliRunner
    from cryptography.hazmat.primitives.serialization import Encoding

    from fedsurg.cli.audit import audit_group

    audit, run = audit_group("site", str(tmp_path), "site.crt"), CliRunner().invoke
    (tmp_path / "site.crt").write_bytes(hospital.certificate.public_bytes(Encoding.PEM))
    other = make_log("server/audit")
    keep_head(other, sign_head(log, "hospital-a", hospital.key), "hospital-a", [hospital.certificate])
    heads = tmp_path / "heads.jsonl"
    taken = run(audit, ["heads", "hospital-a", "--dir", str(tmp_path / "server"), "--out", str(heads)])
    assert (taken.exit_code, taken.stdout) == (0, f"{heads}: 1 heads\n")
    verified = run(audit, ["verify", "--heads", str(heads)])
    assert verified.stdout.splitlines() == [
        "ok: 3 lines in 1 file, 1 signed heads fit",
        f"head: line 3, {log.head().sha256}",
    ]
    accepted = run(audit, ["accept", "hospital-a", "--dir", str(tmp_path / "server"), "--reason", "disk lost"])
    assert accepted.stdout == "hospital-a: its log may begin anew; the 1 heads kept so far stay in this log\n"
    assert json.loads(run(audit, ["verify", "--json"]).stdout)["lines"] == 3
    shown = run(audit, ["show", "--since", "2026-03-01T12:00"])
    assert shown.stdout.splitlines()[1] == (
        "2026-03-01 12:00:00  site hospital-a: update left, study abababababab, round 2, 200 bytes, sha256 cdcdcdcdcdcd"
    )
    assert run(audit, ["show", "--since", "2026-03-02"]).stdout == ""
    assert [json.loads(line)["round"] for line in run(audit, ["show", "--json"]).stdout.splitlines()] == [1, 2, 3]
    assert run(audit, ["show", "--since", "yesterday"]).exit_code == 2
    log.append(Event("failed", why="\x1b[2Jgone"))
    assert run(audit, ["show"]).stdout.splitlines()[3].endswith("failed, ?[2Jgone")


def test_the_command_names_the_first_bad_line(
    log: AuditLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(log, 2, lambda line: line.replace(b":200", b":201"))
    from fedsurg.cli.audit import audit_group

    with pytest.raises(AuditError, match=r"audit-0000000001\.jsonl: line 2: was changed") as caught:
        audit_group("site", str(tmp_path), "site.crt").main(["verify"], standalone_mode=False)
    assert caught.value.exit_code == 1

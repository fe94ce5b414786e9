"""Invitations: one field corrupted, and the error that names it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fedsurg.errors import AlteredError, ClockError, ExpiredError, JoiningError, UnreadableError
from fedsurg.joining.clock import CLOCK_SKEW
from fedsurg.joining.envelope import MAX_FILE_BYTES
from fedsurg.joining.invitation import read_invitation
from server.joining import invite, make_federation


def test_an_invitation_says_where_who_and_how_long(world: Any) -> None:
    made = world.invite()
    read = read_invitation(world.file("invite"), world.now).body
    assert read == made
    assert (read.site, read.host, read.port) == ("hospital-a", "fl.example.org", 9443)
    assert read.expires - read.created == timedelta(days=14)
    assert len(bytes.fromhex(read.token)) == 32


def test_tokens_differ(world: Any) -> None:
    assert world.invite("hospital-a").token != world.invite("hospital-b").token


CHANGED = "changed after the coordinator signed it; ask for the file again"


@pytest.mark.parametrize(
    ("where", "value", "error", "message"),
    [
        ("body.site", "hospital-b", AlteredError, CHANGED),
        ("body.host", "evil.example.org", AlteredError, CHANGED),
        ("body.port", 443, AlteredError, CHANGED),
        ("body.token", "0" * 64, AlteredError, CHANGED),
        ("body.id", "0" * 32, AlteredError, CHANGED),
        ("body.expires", "2099-01-01T00:00:00Z", AlteredError, CHANGED),
        ("proofs.federation", lambda signature: signature[:-8] + "AAAAAAA=", AlteredError, CHANGED),
        ("proofs.federation", "not base64", AlteredError, CHANGED),
        ("proofs.other", "", AlteredError, CHANGED),
        ("proofs", {}, AlteredError, CHANGED),
        ("proofs", ["federation"], UnreadableError, "not a whole invitation"),
        ("proofs.federation", "ü", UnreadableError, "not a whole invitation"),
        ("body.fingerprint", "0" * 64, AlteredError, "certificate and its fingerprint differ"),
        ("body.authority", "-----BEGIN CERTIFICATE-----", AlteredError, "holds no certificate that can be read"),
        (
            "body.site",
            "../hospital",
            UnreadableError,
            "site: site name '../hospital': allowed are 1 to 64 small letters",
        ),
        ("body.host", "evil.org:1", UnreadableError, "host: host 'evil.org:1': not a name or address"),
        ("body.port", "9443", UnreadableError, "port: Input should be a valid integer"),
        ("body.created", "2026-03-01T09:30:00", UnreadableError, "created: a date without a time zone"),
        (
            "body.more",
            1,
            UnreadableError,
            "more: Extra inputs are not permitted; the file is damaged, ask for it again",
        ),
        ("fedsurg", "admission", UnreadableError, "this is the admission, not the invitation; .* ends in .invite"),
        ("fedsurg", None, UnreadableError, "this is no file of fedsurg, not the invitation"),
        ("version", 2, UnreadableError, "invitation of version 2, this fedsurg reads version 1; install the same"),
        ("more", 1, UnreadableError, "not a whole invitation"),
    ],
)
def test_one_corrupted_field(world: Any, where: str, value: Any, error: type[JoiningError], message: str) -> None:
    world.invite()
    path = world.corrupt("invite", where, value)
    with pytest.raises(error, match=message) as caught:
        read_invitation(path, world.now)
    assert type(caught.value) is error
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"fedsurg": ', b"[" * 60000, b" " * (MAX_FILE_BYTES + 1)])
def test_what_is_no_invitation(tmp_path: Path, world: Any, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UnreadableError, match="x: no invitation of fedsurg, or a part of one; ask for the file again"):
        read_invitation(tmp_path / "x", world.now)


def test_no_file_and_a_folder(tmp_path: Path, world: Any) -> None:
    for path, said in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UnreadableError, match=f"cannot be read \\({said}.*\\); check the path of the invitation"):
            read_invitation(path, world.now)


def test_an_invitation_ends(world: Any) -> None:
    made = world.invite()
    read_invitation(world.file("invite"), made.expires)
    with pytest.raises(
        ExpiredError, match=r"the invitation ended at 2026-03-15T09:30:00Z .*; ask the coordinator for a new"
    ):
        read_invitation(world.file("invite"), made.expires + timedelta(seconds=1))


def test_clocks_may_differ_by_minutes(world: Any) -> None:
    world.invite()
    read_invitation(world.file("invite"), world.now - CLOCK_SKEW)
    with pytest.raises(
        ClockError, match=r"made at 2026-03-01T09:30:00Z, and the clock .* says 2026-03-01T08:30:00Z; set"
    ):
        read_invitation(world.file("invite"), world.now - timedelta(hours=1))


def test_enrolling_makes_nothing_from_a_bad_invitation(world: Any) -> None:
    world.invite()
    world.corrupt("invite", "body.port", 1)
    before = world.snapshot()
    with pytest.raises(AlteredError):
        world.enrol()
    assert world.snapshot() == before
    assert not world.site().exists()


def test_a_fingerprint_by_phone_finds_an_exchanged_invitation(world: Any) -> None:
    from site_client.enrolment import enrol

    told = world.invite().fingerprint
    make_federation(world.folder / "evil", "fl.example.org", 9443, world.now)
    forged = world.folder / "forged.invite"
    invite(world.folder / "evil", "hospital-a", forged, world.now)
    read_invitation(forged, world.now)  # by itself it is a good one
    with pytest.raises(AlteredError, match=r"not the one that was given; .* exchanged on its way: do not use it"):
        enrol(forged, world.site(), world.folder, world.file("request"), world.now, told)
    assert not world.site().exists()
    spoken = " ".join(told[i : i + 4] for i in range(0, 64, 4)).upper()
    enrol(world.file("invite"), world.site(), world.folder, world.file("request"), world.now, spoken)


def test_a_part_of_a_fingerprint_is_none(world: Any) -> None:
    from site_client.enrolment import enrol

    told = world.invite().fingerprint
    with pytest.raises(JoiningError, match="has 64 of 0-9 and a-f, found 60 characters; type all sixteen groups"):
        enrol(world.file("invite"), world.site(), world.folder, world.file("request"), world.now, told[:60])


@pytest.mark.parametrize("name", ["", "Hospital", "a b", "../a", "a/b", "-a", "a" * 65, "ä", "a\n"])
def test_names_that_no_site_may_have(world: Any, name: str) -> None:
    before = world.snapshot()
    with pytest.raises(JoiningError, match="allowed are 1 to 64 small letters, digits, - and _"):
        invite(world.coordinator, name, world.folder / "x.invite", world.now)
    assert world.snapshot() == before


def test_a_site_is_invited_once_at_a_time(world: Any) -> None:
    world.invite()
    with pytest.raises(
        JoiningError, match=r"hospital-a: invited already; to invite it anew .* server revoke hospital-a"
    ):
        world.invite()
    world.now += timedelta(days=15)
    world.invite()  # the first has ended


def test_an_invitation_that_cannot_be_handed_out_was_never_made(world: Any) -> None:
    before = world.snapshot()
    with pytest.raises(JoiningError, match=r"File exists|Not a directory"):
        invite(world.coordinator, "hospital-a", world.coordinator / "ca.pem" / "x", world.now)
    changed = set(world.snapshot().items()) ^ set(before.items())
    assert {name for name, _ in changed} == {"coordinator/audit/audit-0000000001.jsonl"}
    world.file("invite").touch()
    with pytest.raises(JoiningError, match=r"hospital-a.invite: exists already; remove it or choose another --out"):
        invite(world.coordinator, "hospital-a", world.file("invite"), world.now)
    assert not (world.coordinator / "sites" / "hospital-a.json").exists()

"""Requests: what the coordinator refuses, and that a refusal changes nothing."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from fedsurg.errors import (
    AlteredError,
    ClockError,
    ExpiredError,
    ForeignError,
    JoiningError,
    ReplayedError,
    RevokedError,
    UnreadableError,
)
from fedsurg.joining.keys import make_key, public_openssh
from fedsurg.joining.request import Request, SiteKeys, make_request
from server import joining
from server.joining import make_federation, revoke
from server.members import Members


def asked(world: Any) -> Request:
    world.invite()
    return world.enrol()


def refused(world: Any, error: type[JoiningError], message: str, **options: Any) -> None:
    before = world.snapshot("coordinator")
    with pytest.raises(error, match=message) as caught:
        world.admit(**options)
    assert type(caught.value) is error
    assert world.snapshot("coordinator") == before
    assert not world.file("admission").exists()


NOT_BY_TOKEN = (
    "not made with the invitation that hospital-a was sent, or changed since; do not admit it, ask the hospital"
)


@pytest.mark.parametrize(
    ("where", "value", "error", "message"),
    [
        ("body.created", "2026-02-28T00:00:00Z", AlteredError, NOT_BY_TOKEN),
        ("body.node_public_key", public_openssh(make_key().public_key()), AlteredError, NOT_BY_TOKEN),
        ("body.csr", lambda pem: pem.replace("A", "B", 1), AlteredError, NOT_BY_TOKEN),
        ("proofs.token", "0" * 64, AlteredError, NOT_BY_TOKEN),
        ("proofs.token", "", AlteredError, NOT_BY_TOKEN),
        ("proofs.site", "AAAA", AlteredError, "does not hold the site's private key; do not admit it"),
        ("proofs.node", "AAAA", AlteredError, "does not hold the node's private key; do not admit it"),
        ("proofs", {}, AlteredError, r"its proofs are \[\]"),
        ("body.federation", "0" * 64, ForeignError, "asks another federation than the one in"),
        ("body.site", "hospital-b", ForeignError, "hospital-b was never invited here; run fedsurg server invite"),
        ("body.invitation", "0" * 32, ReplayedError, "its invitation was used or withdrawn; an invitation works once"),
        ("body.invitation", None, UnreadableError, "give either the invitation or the certificate"),
        ("body.certificate", "0" * 40, UnreadableError, "give either the invitation or the certificate"),
        ("body.more", 1, UnreadableError, "more: Extra inputs are not permitted"),
        ("fedsurg", "invitation", UnreadableError, "this is the invitation, not the request; .* ends in .request"),
    ],
)
def test_one_corrupted_field(world: Any, where: str, value: Any, error: type[JoiningError], message: str) -> None:
    asked(world)
    world.corrupt("request", where, value)
    refused(world, error, message)


def test_whoever_lacks_the_token_cannot_ask(world: Any) -> None:
    body = asked(world)
    keys = SiteKeys(make_key(), make_key())
    forged = make_request("hospital-a", body.federation, keys, world.now, invitation=body.invitation)
    world.reseal(forged, keys, token="0" * 64)
    refused(world, AlteredError, NOT_BY_TOKEN)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"created": "later"},
            ClockError,
            "the request was made at 2026-03-02T09:30:00Z, and the clock of this machine",
        ),
        ({"csr": "for another"}, AlteredError, "signing request is for 'hospital-b', the request for 'hospital-a'"),
        ({"csr": "P-256"}, AlteredError, "its signing request cannot be read; ask for the file again"),
        ({"csr": "nothing"}, AlteredError, "its signing request cannot be read; ask for the file again"),
        ({"csr": "of another key"}, AlteredError, "does not hold the site's private key"),
        ({"node_public_key": "P-256"}, AlteredError, "the node's public key is not EC P-384; ask for the file again"),
        ({"node_public_key": "ssh-rsa AAAA"}, AlteredError, "the node's public key cannot be read"),
        ({"node_public_key": "another's"}, AlteredError, "does not hold the node's private key"),
    ],
)
def test_a_site_that_has_the_token_and_lies(
    world: Any, change: dict[str, str], error: type[JoiningError], message: str
) -> None:
    body, keys = asked(world), world.keys()
    small, other = ec.generate_private_key(ec.SECP256R1()), make_key()

    def csr(name: str, key: ec.EllipticCurvePrivateKey) -> str:
        return make_request(name, body.federation, SiteKeys(key, keys.node), world.now, invitation=body.invitation).csr

    values: dict[str, Any] = {
        "later": world.now + timedelta(days=1),
        "for another": csr("hospital-b", keys.site),
        "of another key": csr("hospital-a", other),
        "another's": public_openssh(other.public_key()),
    }
    (field, what), *_ = change.items()
    small_value = csr("hospital-a", small) if field == "csr" else public_openssh(small.public_key())
    world.reseal(body.model_copy(update={field: small_value if what == "P-256" else values.get(what, what)}))
    refused(world, error, message)


def test_a_node_key_is_of_one_site(world: Any) -> None:
    world.joined("hospital-b")
    body = asked(world)
    theirs = world.joined_node_key("hospital-b")
    keys = SiteKeys(world.keys().site, theirs)
    world.reseal(body.model_copy(update={"node_public_key": public_openssh(theirs.public_key())}), keys)
    refused(world, ForeignError, "has a node key that hospital-b has or had; do not admit it")


@pytest.mark.parametrize("whose", ["hospital-a", "hospital-b"])
def test_a_node_key_of_before_a_revocation_is_nobodys(world: Any, whose: str) -> None:
    """Not another site's, and not that of the site when it comes back."""
    world.joined(whose)
    stolen = world.joined_node_key(whose)
    revoke(world.coordinator, whose, "stolen", world.now)
    shutil.rmtree(world.site(whose))
    world.file("admission", whose).unlink()
    world.file("request", whose).unlink()
    body, keys = asked(world), SiteKeys(world.keys().site, stolen)
    world.reseal(body.model_copy(update={"node_public_key": public_openssh(stolen.public_key())}), keys)
    refused(world, ForeignError, f"has a node key that {whose} has or had; do not admit it")


def test_a_revoked_key_gets_no_new_certificate(world: Any) -> None:
    from fedsurg.joining.keys import read_private_key

    world.joined()
    old = read_private_key(world.site() / "private" / "identity.pem")
    revoke(world.coordinator, "hospital-a", "stolen", world.now)
    world.invite()
    invited = world.read("invite")["body"]
    keys = SiteKeys(old, make_key())
    world.reseal(make_request("hospital-a", invited["fingerprint"], keys, world.now, invitation=invited["id"]), keys)
    refused(world, ForeignError, "its key has a certificate already, of hospital-a")


def test_a_request_works_once(world: Any) -> None:
    asked(world)
    first = world.admit().certificate
    assert "token" not in (world.coordinator / "sites" / "hospital-a.json").read_text()
    lost = world.file("admission").read_bytes()
    refused(world, ReplayedError, "answered already .*; a request works once. If the admission was lost, hand on .*")
    kept = Members(world.coordinator).admission_path("hospital-a")
    assert kept.read_bytes() == lost
    assert [one.number for one in Members(world.coordinator).find("hospital-a").certificates] == [first.serial_number]


def test_an_invitation_works_once(world: Any) -> None:
    asked(world)
    world.admit()
    world.file("request").unlink()
    world.site().rename(world.folder / "first")
    world.enrol()  # the hospital cannot know
    refused(world, ReplayedError, "its invitation was used or withdrawn; an invitation works once")


def test_of_two_requests_at_once_one_is_admitted(world: Any) -> None:
    asked(world)
    world.file("request").rename(world.folder / "1.request")
    world.site().rename(world.folder / "first")
    world.enrol()
    world.file("request").rename(world.folder / "2.request")

    def attempt(number: int) -> str:
        try:
            path, out = world.folder / f"{number}.request", world.folder / f"{number}.admission"
            return joining.admit(world.coordinator, path, out, world.now).site
        except ReplayedError:
            return "replayed"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, (1, 2))) == ["hospital-a", "replayed"]
    assert len(Members(world.coordinator).find("hospital-a").certificates) == 1


def test_an_invitation_ends_by_the_coordinators_clock(world: Any) -> None:
    asked(world)
    world.now += timedelta(days=15)
    refused(world, ExpiredError, "invitation of hospital-a ended at 2026-03-15T09:30:00Z .*; run fedsurg server invite")


def test_a_withdrawn_invitation(world: Any) -> None:
    asked(world)
    revoke(world.coordinator, "hospital-a", "", world.now)
    refused(world, ReplayedError, "its invitation was used or withdrawn")


def test_a_request_of_another_federation(world: Any) -> None:
    asked(world)
    make_federation(world.folder / "other", "fl.example.org", 9443, world.now)
    with pytest.raises(
        ForeignError, match=r"asks another federation than the one in .*other; give the right --dir or file"
    ):
        joining.admit(world.folder / "other", world.file("request"), world.file("admission"), world.now)


def test_a_fingerprint_by_phone(world: Any) -> None:
    body = asked(world)
    refused(world, AlteredError, "not the one that was given", fingerprint="0" * 64)
    assert world.admit(fingerprint=body.digest).request_fingerprint == body.digest


def test_a_renewal_is_signed_by_the_certificate_in_use(world: Any) -> None:
    world.joined().renew()
    assert set(world.read("request")["proofs"]) == {"certificate", "site", "node"}
    world.corrupt("request", "proofs.certificate", "AAAA")
    refused(world, AlteredError, "not signed with the certificate that hospital-a uses, or changed since")


@pytest.mark.parametrize(
    ("when", "error", "message"),
    [
        ("revoked", RevokedError, "renews a certificate that is revoked; .* fedsurg server invite hospital-a"),
        (
            "ended",
            ExpiredError,
            "that it renews ended at 2027-03-01T09:30:00Z .*; run fedsurg server revoke hospital-a",
        ),
        ("never", ForeignError, "renews a certificate that hospital-a never had"),
    ],
)
def test_renewals_that_come_too_late(world: Any, when: str, error: type[JoiningError], message: str) -> None:
    world.joined().renew()
    world.file("admission").unlink()
    match when:
        case "revoked":
            revoke(world.coordinator, "hospital-a", "", world.now)
        case "ended":
            world.now += timedelta(days=366)
        case _:
            world.corrupt("request", "body.certificate", "0" * 40)
    refused(world, error, message)


def test_a_full_disk_after_the_admission_says_where_it_is(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _content: str) -> None:
        raise JoiningError(f"{path}: cannot be written (No space left on device)")

    asked(world)
    monkeypatch.setattr(joining, "write_new", full)
    with pytest.raises(
        JoiningError, match=r"hospital-a is admitted; hand on .*hospital-a.admission, as .*No space left"
    ):
        world.admit()
    monkeypatch.undo()
    Members(world.coordinator).admission_path("hospital-a").rename(world.file("admission"))
    world.join()


def test_flower_reads_the_node_key(world: Any) -> None:
    body = asked(world)
    private = load_ssh_private_key((world.site() / "private" / "node.key").read_bytes(), None)
    public = load_ssh_public_key(body.node_public_key.encode())
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.public_key() == public
    assert private.curve.name == "secp384r1"

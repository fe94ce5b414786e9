"""Admissions: what a site refuses, joining, and changing the certificate later."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fedsurg.errors import (
    AlteredError,
    ClockError,
    ExpiredError,
    ExposedError,
    ForeignError,
    JoiningError,
    ReplayedError,
    UnreadableError,
)
from fedsurg.joining.admission import Admission, admission_text
from fedsurg.joining.certificates import certificate_pem, public_key, site_of
from fedsurg.joining.keys import make_key
from server.authority import Authority, read_authority
from server.joining import admit
from server.revocation import RevocationList
from site_client.doctor.finding import Site, ToDoError
from site_client.doctor.folder import certificate
from site_client.enrolment import enrol, join, renew
from site_client.site_folder import read_identity, read_membership

CHANGED = "changed after the coordinator signed it; ask for the file again"


def answered(world: Any, name: str = "hospital-a") -> Admission:
    world.invite(name)
    world.enrol(name)
    world.admit(name)
    return Admission.model_validate_json(json.dumps(world.read("admission", name)["body"]))


def advice(world: Any) -> str:
    """What `fedsurg site doctor` says of the certificate."""
    return certificate(Site(world.site(), read_membership(world.site()), world.now))


def refused(world: Any, error: type[JoiningError], message: str) -> None:
    before = world.snapshot("hospital-a")
    with pytest.raises(error, match=message) as caught:
        world.join()
    assert type(caught.value) is error
    assert world.snapshot("hospital-a") == before


@pytest.mark.parametrize(
    ("where", "value", "error", "message"),
    [
        ("body.site", "hospital-b", AlteredError, CHANGED),
        ("body.host", "evil.example.org", AlteredError, CHANGED),
        ("body.port", 443, AlteredError, CHANGED),
        ("body.request", "0" * 64, AlteredError, CHANGED),
        ("body.renew_from", "2099-01-01T00:00:00Z", AlteredError, CHANGED),
        ("body.certificate", lambda pem: pem.replace("A", "B", 1), AlteredError, CHANGED),
        ("body.authority", "", AlteredError, "holds no certificate that can be read"),
        ("proofs.federation", "AAAA", AlteredError, CHANGED),
        ("proofs", {}, AlteredError, CHANGED),
        ("fedsurg", "request", UnreadableError, "this is the request, not the admission; .* ends in .admission"),
        ("body.certificate", None, UnreadableError, "certificate: Input should be a valid string; the file is damaged"),
    ],
)
def test_one_corrupted_field(world: Any, where: str, value: Any, error: type[JoiningError], message: str) -> None:
    answered(world)
    world.corrupt("admission", where, value)
    refused(world, error, message)


def test_an_admission_for_another_site(world: Any) -> None:
    answered(world)
    answered(world, "hospital-b")
    world.file("admission", "hospital-b").rename(world.file("admission"))
    refused(world, ForeignError, "for hospital-b, this site is hospital-a; ask for the file of hospital-a")


def test_an_admission_of_another_federation(world: Any) -> None:
    answered(world)
    other = replace(world, folder=world.folder / "other")
    from server.joining import make_federation

    make_federation(other.coordinator, "fl.example.org", 9443, world.now)
    answered(other)
    world.file("admission").write_bytes(other.file("admission").read_bytes())
    refused(world, ForeignError, "from another federation than the one this site asked; ask for the right file")


def test_an_admission_that_answers_an_older_request(world: Any) -> None:
    world.joined().renew()
    world.admit()
    world.renew()
    refused(
        world, ForeignError, "answers another request of hospital-a than the one that waits here; send .* the newest"
    )


def test_an_admission_is_taken_once(world: Any) -> None:
    world.joined()
    refused(
        world, ReplayedError, "no request waits for an admission, hospital-a has joined already; .* fedsurg site renew"
    )


def test_a_clock_that_is_late(world: Any) -> None:
    answered(world)
    world.now -= timedelta(hours=1)
    refused(world, ClockError, "its certificate was made at 2026-03-01T09:25:00Z, and the clock of this machine says")
    world.now += timedelta(minutes=51)  # four late, within the tolerance
    world.join()


def test_an_admission_that_was_left_lying(world: Any) -> None:
    answered(world)
    world.now += timedelta(days=366)
    refused(
        world, ExpiredError, "its certificate ended at 2027-03-01T09:30:00Z .*; ask the coordinator to revoke this site"
    )


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("for a server", "its certificate was not issued to a client by this federation's authority"),
        ("by another authority", "its certificate was not issued to a client by this federation's authority"),
        ("for another site", "its certificate does not name hospital-a"),
        ("for another key", "its certificate is for another key than this site's"),
    ],
)
def test_certificates_that_the_coordinator_should_not_have_sent(world: Any, what: str, message: str) -> None:
    admission = answered(world)
    authority = read_authority(world.coordinator)
    key, year = world.keys().site.public_key(), timedelta(days=365)
    impostor = Authority(authority.certificate, make_key())
    certificate = {
        "for a server": lambda: authority.issue_gateway(key, "fl.example.org", world.now, year),
        "by another authority": lambda: impostor.issue_site(key, "hospital-a", world.now, year),
        "for another site": lambda: authority.issue_site(key, "hospital-b", world.now, year),
        "for another key": lambda: authority.issue_site(make_key().public_key(), "hospital-a", world.now, year),
    }[what]()
    changed = admission.model_copy(update={"certificate": certificate_pem(certificate)})
    world.file("admission").write_text(admission_text(changed, authority.key))
    refused(world, AlteredError, message)


def test_a_site_that_joined_is_known_by_its_certificate(world: Any) -> None:
    world.joined()
    identity = read_identity(world.site(), "hospital-a", world.now)
    assert site_of(identity.certificate) == "hospital-a"
    assert identity.certificate.public_key() == identity.key.public_key()
    membership = read_membership(world.site())
    assert membership.address == "fl.example.org:9443"
    assert membership.data == str(world.folder / "data")
    assert {path.name for path in (world.site() / "private").iterdir()} == {"identity.pem", "node.key"}


def test_joining_again_after_a_stop_half_way(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from site_client import enrolment

    answered(world)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(enrolment, "write_membership", stop)
    with pytest.raises(KeyboardInterrupt):
        world.join()
    monkeypatch.undo()
    world.join()
    assert advice(world) == "until 2027-03-01, renew from 2026-12-31 on"
    assert (world.site() / "site.crt").read_text().count("BEGIN") == 1


def test_a_renewal_that_cannot_be_written_leaves_the_one_that_waits(world: Any, tmp_path: Path) -> None:
    world.joined()
    world.now += timedelta(days=310)
    world.renew()
    (tmp_path / "file").touch()
    with pytest.raises(JoiningError, match="cannot be written"):
        renew(world.site(), tmp_path / "file" / "second.request", world.now)
    world.admit()
    world.join()


def test_a_site_without_the_authoritys_certificate_is_told_what_to_do(world: Any) -> None:
    world.joined()
    (world.site() / "ca.pem").unlink()
    with pytest.raises(JoiningError, match=r"ca\.pem: cannot be read; restore it from a backup"):
        read_identity(world.site(), "hospital-a", world.now)


def test_a_renewal_changes_the_key_and_keeps_the_node(world: Any) -> None:
    world.joined()
    old = read_identity(world.site(), "hospital-a", world.now)
    world.now += timedelta(days=310)
    with pytest.raises(ToDoError, match=r"ends at 2027-03-01, in .*; run fedsurg site renew"):
        advice(world)
    node = (world.site() / "private" / "node.key").read_bytes()
    world.renew()
    assert (
        read_identity(world.site(), "hospital-a", world.now).certificate == old.certificate
    )  # in use until the new one is joined with
    assert world.admit().renewal
    world.join()
    new = read_identity(world.site(), "hospital-a", world.now)
    assert public_key(new.certificate) != public_key(old.certificate)
    assert (world.site() / "private" / "node.key").read_bytes() == node
    assert advice(world) == "until 2028-01-05, renew from 2027-11-06 on"
    assert not RevocationList(world.coordinator).is_revoked(old.certificate.serial_number)
    public = (world.site() / "site.crt").read_text()
    assert public == certificate_pem(new.certificate) + certificate_pem(old.certificate)


def test_a_renewal_carries_a_new_address(world: Any) -> None:
    world.joined().renew()
    settings = world.coordinator / "federation.toml"
    settings.write_text(settings.read_text().replace("fl.example.org", "10.0.0.7").replace("9443", "443"))
    world.admit()
    world.join()
    assert read_membership(world.site()).address == "10.0.0.7:443"


def test_what_a_site_is_told_about_its_certificate(world: Any) -> None:
    answered(world)
    with pytest.raises(JoiningError, match="hospital-a has not joined yet; run fedsurg site join"):
        advice(world)
    with pytest.raises(JoiningError, match="hospital-a has not joined yet"):
        world.renew()
    world.join()
    world.now += timedelta(days=366)
    with pytest.raises(ExpiredError, match="its certificate ended at 2027-03-01T09:30:00Z"):
        advice(world)
    with pytest.raises(ExpiredError, match="ask the coordinator to revoke this site and to invite it again"):
        world.renew()


def test_others_may_read_neither_folder_nor_key(world: Any) -> None:
    answered(world)
    world.site().chmod(0o750)
    refused(
        world, ExposedError, "hospital-a: mode 750 lets others than its owner in; run chmod 700 .*hospital-a and find"
    )
    world.site().chmod(0o700)
    (world.site() / "private" / "pending.key").chmod(0o640)
    refused(world, ExposedError, "pending.key: mode 640 lets others than its owner in; run chmod 600 ")


def test_a_folder_that_holds_something_is_left_alone(world: Any) -> None:
    world.invite()
    world.site().mkdir()
    (world.site() / "thesis.tex").touch()
    before = world.snapshot()
    with pytest.raises(JoiningError, match="hospital-a: exists already and is left as it is; choose another --dir"):
        world.enrol()
    assert world.snapshot() == before


def test_an_empty_folder_is_taken_and_closed(world: Any) -> None:
    world.invite()
    world.site().mkdir(mode=0o755)
    world.enrol()
    assert world.site().stat().st_mode & 0o777 == 0o700


def test_enrolling_needs_the_data_folder_and_a_free_file(world: Any) -> None:
    world.invite()
    arguments = (world.file("invite"), world.site(), world.folder / "none", world.file("request"), world.now)
    with pytest.raises(JoiningError, match=r"--data .*none: no such folder; give the one that holds site.toml"):
        enrol(*arguments)
    world.file("request").touch()
    with pytest.raises(JoiningError, match=r"hospital-a.request: exists already; remove it or choose another --out"):
        world.enrol()
    assert not world.site().exists()


def test_a_request_that_cannot_be_written_leaves_no_folder(world: Any) -> None:
    world.invite()
    (world.folder / "file").touch()
    out = world.folder / "file" / "x.request"
    with pytest.raises(JoiningError, match=r"x.request: cannot be written"):
        enrol(world.file("invite"), world.site(), world.folder, out, world.now)
    assert {path.name for path in world.folder.iterdir()} == {"coordinator", "file", "hospital-a.invite"}


def test_not_a_sites_folder(world: Any) -> None:
    with pytest.raises(UnreadableError, match="no such file; enrol with fedsurg site enrol, or give the site's folder"):
        join(world.folder / "x", world.folder, world.now)
    with pytest.raises(UnreadableError, match="no such file; make the federation with fedsurg server init, or give"):
        admit(world.folder, world.folder / "x", None, world.now)

"""What the authority issues, what it revokes, and what OpenSSL makes of both."""

import os
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from fedsurg.errors import AlteredError, ExposedError, JoiningError, UnreadableError
from fedsurg.joining import clock
from fedsurg.joining.certificates import site_of
from fedsurg.joining.keys import make_key
from server.authority import read_authority
from server.federation_file import read_federation_file
from server.joining import invite, make_federation, renew_gateway, retire_superseded, revoke
from server.members import Members
from server.revocation import RevocationList


def extension(certificate: x509.Certificate, kind: Any) -> Any:
    return certificate.extensions.get_extension_for_class(kind).value


def test_a_sites_certificate_by_hand(world: Any) -> None:
    certificate = read_authority(world.coordinator).issue_site(
        make_key().public_key(), "hospital-a", world.now, timedelta(days=10)
    )
    uris = extension(certificate, x509.SubjectAlternativeName).get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == ["urn:fedsurg:site:hospital-a"]
    assert site_of(certificate) == "hospital-a"
    assert list(extension(certificate, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not extension(certificate, x509.BasicConstraints).ca
    assert certificate.not_valid_before_utc == world.now - timedelta(minutes=5)
    assert certificate.not_valid_after_utc == world.now + timedelta(days=10)


@pytest.mark.parametrize("host", ["fl.example.org", "localhost", "127.0.0.1", "::1"])
def test_the_gateways_certificate_names_its_host(world: Any, host: str) -> None:
    authority = read_authority(world.coordinator)
    certificate = authority.issue_gateway(make_key().public_key(), host, world.now, timedelta(days=10))
    names = extension(certificate, x509.SubjectAlternativeName)
    found = names.get_values_for_type(x509.DNSName) + names.get_values_for_type(x509.IPAddress)
    assert found == [ip_address(host) if host in ("127.0.0.1", "::1") else host]
    assert list(extension(certificate, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert site_of(certificate) == ""


def test_no_certificate_outlives_the_authority(world: Any) -> None:
    authority = read_authority(world.coordinator)
    certificate = authority.issue_site(make_key().public_key(), "a", world.now, timedelta(days=9999))
    assert certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    "host", ["", "FL.example.org", "https://fl.example.org", "fl.example.org:9443", "a..b", "1.2.3"]
)
def test_hosts_that_are_none(tmp_path: Path, host: str) -> None:
    with pytest.raises(JoiningError, match="not a name or address; give it in small letters and without a port"):
        make_federation(tmp_path / "new", host, 9443, clock.now())
    assert not list(tmp_path.iterdir())


def test_a_federation_is_made_once(world: Any) -> None:
    before = world.snapshot()
    with pytest.raises(JoiningError, match="coordinator: exists already and is left as it is; choose another --dir"):
        make_federation(world.coordinator, "fl.example.org", 9443, world.now)
    assert world.snapshot() == before


def test_all_files_are_their_owners_alone(world: Any) -> None:
    world.joined("hospital-a").renew()
    for path in [world.coordinator, world.site(), *world.coordinator.rglob("*"), *world.site().rglob("*")]:
        if path.name != ".lock":  # empty
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_keys_and_folders_that_others_may_read(world: Any) -> None:
    (world.coordinator / "private" / "ca.key").chmod(0o644)
    with pytest.raises(
        ExposedError, match=r"ca.key: mode 644 lets others than its owner in; run chmod 600 .*ca.key and"
    ):
        world.invite()
    world.coordinator.chmod(0o755)
    with pytest.raises(
        ExposedError, match=r"coordinator: mode 755 lets others than its owner in; run chmod 700 .*coord"
    ):
        world.invite()


def test_a_key_of_another_authority(world: Any) -> None:
    make_federation(world.folder / "other", "fl.example.org", 9443, world.now)
    (world.folder / "other" / "private" / "ca.key").rename(world.coordinator / "private" / "ca.key")
    with pytest.raises(AlteredError, match=r"ca.pem and private/ca.key do not belong together; restore both"):
        world.invite()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("site = 0", r"validity.site: Input should be greater than or equal to 1; .* correct it by hand"),
        ("sites = 1", "validity.sites: Extra inputs are not permitted"),
        ("site = ", "federation.toml: cannot be read: .*; correct it by hand"),
    ],
)
def test_settings_that_are_wrong(world: Any, line: str, message: str) -> None:
    path = world.coordinator / "federation.toml"
    path.write_text(path.read_text().replace("site = 365", line))
    with pytest.raises(UnreadableError, match=message):
        world.invite()


def test_settings_hold_for_what_is_made_next(world: Any) -> None:
    path = world.coordinator / "federation.toml"
    path.write_text(path.read_text().replace("site = 365", "site = 30").replace("invitation = 14", "invitation = 2"))
    assert world.invite().expires == world.now + timedelta(days=2)
    world.enrol()
    assert world.admit().certificate.not_valid_after_utc == world.now + timedelta(days=30)
    assert invite(world.coordinator, "b", world.folder / "b", world.now, 7).expires == world.now + timedelta(days=7)


def test_the_gateway_is_renewed_for_the_host_in_the_settings(world: Any) -> None:
    old = (world.coordinator / "private" / "gateway.pem").read_bytes()
    path = world.coordinator / "federation.toml"
    path.write_text(path.read_text().replace("fl.example.org", "new.example.org"))
    assert read_federation_file(world.coordinator).address == "new.example.org:9443"
    certificate = renew_gateway(world.coordinator, world.now + timedelta(days=300))
    assert extension(certificate, x509.SubjectAlternativeName).get_values_for_type(x509.DNSName) == ["new.example.org"]
    assert (world.coordinator / "private" / "gateway.pem").read_bytes() != old
    assert (world.coordinator / "server.crt").read_text().count("BEGIN CERTIFICATE") == 2


def serials(world: Any, name: str = "hospital-a") -> list[int]:
    return [one.number for one in Members(world.coordinator).find(name).certificates]


def test_a_revocation_holds_at_once_and_touches_no_other_site(world: Any) -> None:
    world.joined("hospital-a", "hospital-b")
    watched = RevocationList(world.coordinator)
    (one,), (other,) = serials(world, "hospital-a"), serials(world, "hospital-b")
    assert not watched.is_revoked(one)
    before = world.snapshot("coordinator", "hospital-b")
    revoke(world.coordinator, "hospital-a", "laptop lost", world.now)
    assert watched.is_revoked(one)
    assert not watched.is_revoked(other)
    after = world.snapshot("coordinator", "hospital-b")
    assert {name for name in after if after[name] != before[name]} == {
        "coordinator/audit/audit-0000000001.jsonl",
        "coordinator/crl.pem",
        "coordinator/sites/hospital-a.json",
    }


def test_the_list_grows_and_forgets_nothing(world: Any) -> None:
    world.joined("hospital-a", "hospital-b")
    revoke(world.coordinator, "hospital-a", "", world.now)
    revoke(world.coordinator, "hospital-b", "", world.now + timedelta(days=1))
    assert RevocationList(world.coordinator).is_revoked(serials(world, "hospital-a")[0])
    found = x509.load_pem_x509_crl((world.coordinator / "crl.pem").read_bytes())
    assert [entry.revocation_date_utc - world.now for entry in found] == [timedelta(0), timedelta(days=1)]
    assert extension(found, x509.CRLNumber).crl_number == 3


def test_a_new_list_is_noticed_within_one_tick_of_the_clock(world: Any) -> None:
    world.joined()
    path = world.coordinator / "crl.pem"
    watched = RevocationList(world.coordinator)
    before = path.stat()
    assert not watched.is_revoked(serials(world)[0])
    revoke(world.coordinator, "hospital-a", "", world.now)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert watched.is_revoked(serials(world)[0])


def test_without_a_list_to_trust_nobody_is_let_in(world: Any) -> None:
    world.joined()
    path, watched = world.coordinator / "crl.pem", RevocationList(world.coordinator)
    assert not watched.is_revoked(1)
    make_federation(world.folder / "other", "fl.example.org", 9443, world.now)
    path.write_bytes((world.folder / "other" / "crl.pem").read_bytes())
    with pytest.raises(AlteredError, match=r"crl.pem: not signed by this federation's authority; restore it"):
        watched.is_revoked(1)
    path.unlink()
    for question in (watched.is_revoked, lambda serial: RevocationList(world.coordinator).is_revoked(serial)):
        with pytest.raises(UnreadableError, match=r"crl.pem: no list of revoked certificates can be read; restore it"):
            question(1)
    with pytest.raises(UnreadableError, match=r"crl.pem: no list"):  # a new list would let the revoked in again
        revoke(world.coordinator, "hospital-a", "", world.now)


def test_revoking_what_cannot_be_revoked(world: Any) -> None:
    with pytest.raises(JoiningError, match=r"nobody: no such site in .*; fedsurg server sites lists them"):
        revoke(world.coordinator, "nobody", "", world.now)
    world.joined()
    revoke(world.coordinator, "hospital-a", "", world.now)
    with pytest.raises(JoiningError, match="hospital-a: revoked already at 2026-03-01; nothing was changed"):
        revoke(world.coordinator, "hospital-a", "", world.now)


def test_a_revoked_site_may_come_back_with_new_keys(world: Any) -> None:
    world.joined()
    revoke(world.coordinator, "hospital-a", "", world.now)
    world.site().rename(world.folder / "old")
    world.file("request").unlink()
    world.joined()
    assert Members(world.coordinator).find("hospital-a").state(world.now) == "admitted"
    assert [RevocationList(world.coordinator).is_revoked(one) for one in serials(world)] == [True, False]


def test_states(world: Any) -> None:
    def state() -> str:
        return Members(world.coordinator).find("hospital-a").state(world.now)

    world.invite()
    assert state() == "invited"
    world.now += timedelta(days=15)
    assert state() == "invitation expired"
    world.joined()
    assert state() == "admitted"
    world.now += timedelta(days=366)
    assert state() == "certificate expired"
    revoke(world.coordinator, "hospital-a", "", world.now)
    assert state() == "revoked"


def test_the_old_certificate_goes_when_the_new_one_is_in_use(world: Any) -> None:
    world.joined().renew()
    world.admit()
    old, new = serials(world)
    watched = RevocationList(world.coordinator)
    retire_superseded(world.coordinator, "hospital-a", old, world.now)
    assert not watched.is_revoked(old)
    assert not watched.is_revoked(new)
    retire_superseded(world.coordinator, "hospital-a", new, world.now)
    assert watched.is_revoked(old)
    assert not watched.is_revoked(new)
    with pytest.raises(JoiningError, match=r"hospital-b: no certificate .* was issued to it; nothing was retired"):
        retire_superseded(world.coordinator, "hospital-b", new, world.now)


def test_a_damaged_site_file(world: Any) -> None:
    world.joined()
    path = world.coordinator / "sites" / "hospital-a.json"
    path.write_text(path.read_text().replace('"hospital-a"', '"hospital-b"'))
    with pytest.raises(UnreadableError, match=r"hospital-a.json: says it is of hospital-b; restore it from a backup"):
        Members(world.coordinator).find("hospital-a")


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> tuple[Any, bytes]:
    """The certificate that the server saw, and one message from server to client, over a real TLS connection."""
    here, there = socket.socketpair()

    def serve() -> Any:
        with here, server.wrap_socket(here, server_side=True) as connection:
            seen = connection.getpeercert()
            connection.sendall(b"welcome")
            return seen

    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(serve)
        try:
            with there, client.wrap_socket(there, server_hostname=host) as connection:
                received = connection.recv(16)
        finally:
            seen = serving.result(timeout=20)
    return seen, received


def contexts(world: Any) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a gateway and a site would set up: strict checks, both sides with certificates."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(world.coordinator / "private" / "gateway.pem")
    server.load_verify_locations(world.coordinator / "ca.pem")
    server.load_verify_locations(world.coordinator / "crl.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    server.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_CRL_CHECK_LEAF
    client.load_cert_chain(world.site() / "private" / "identity.pem")
    client.load_verify_locations(world.site() / "ca.pem")
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    return server, client


def test_openssl_takes_both_ends_and_the_list(world: Any) -> None:
    world.now = clock.now()
    make_federation(world.folder / "now" / "coordinator", "fl.example.org", 9443, world.now)
    world.folder /= "now"
    world.joined()
    seen, received = handshake(*contexts(world), "fl.example.org")
    assert received == b"welcome"
    assert seen["subjectAltName"] == (("URI", "urn:fedsurg:site:hospital-a"),)
    with pytest.raises(ssl.SSLError, match=r"Hostname mismatch|sslv3|alert|EOF"):
        handshake(*contexts(world), "evil.example.org")
    revoke(world.coordinator, "hospital-a", "", world.now)
    with pytest.raises(ssl.SSLError, match="certificate revoked"):
        handshake(*contexts(world), "fl.example.org")

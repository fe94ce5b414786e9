"""Certificates as both ends read and check them. Issuing is the coordinator's: `server/authority.py`."""

from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from fedsurg.errors import AlteredError, UnreadableError
from fedsurg.joining.clock import CLOCK_SKEW, day, require_begun, require_not_ended
from fedsurg.joining.keys import CURVE, fingerprint
from fedsurg.joining.names import URN


def read_certificate(pem: str, what: str) -> x509.Certificate:
    """One certificate with a P-384 key.

    Raises:
        AlteredError: it is none, or its key is of another kind.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        public_key(certificate)
    except (ValueError, TypeError) as problem:
        raise AlteredError(f"{what}: holds no certificate that can be read; ask for the file again") from problem
    return certificate


def read_certificate_file(path: Path, advice: str) -> x509.Certificate:
    """The certificate in a file.

    Args:
        advice: what a person should do who has no such file.

    Raises:
        UnreadableError, AlteredError: it cannot be read, or is no certificate.
    """
    try:
        return read_certificate(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as problem:
        raise UnreadableError(f"{path}: cannot be read; {advice}") from problem


def certificate_pem(certificate: x509.Certificate) -> str:
    """PEM text."""
    return certificate.public_bytes(Encoding.PEM).decode()


def public_key(certificate: x509.Certificate | x509.CertificateSigningRequest) -> ec.EllipticCurvePublicKey:
    """The key of a certificate or signing request.

    Raises:
        TypeError: it is not EC P-384.
    """
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, CURVE):
        raise TypeError("not an EC P-384 key")
    return key


def fingerprint_of(certificate: x509.Certificate) -> str:
    """SHA-256 over the whole certificate, as `openssl x509 -fingerprint -sha256` shows it."""
    return fingerprint(certificate.public_bytes(Encoding.DER))


def common_name(name: x509.Name) -> str:
    """The common name, or nothing."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else ""


def serial_hex(certificate: x509.Certificate) -> str:
    """The serial number as files write it."""
    return f"{certificate.serial_number:040x}"


def certificate_facts(certificate: x509.Certificate) -> dict[str, str]:
    """What a line of an audit log says of a certificate."""
    until = day(certificate.not_valid_after_utc)
    return {"serial": serial_hex(certificate), "fingerprint": fingerprint_of(certificate), "until": until}


def site_of(certificate: x509.Certificate) -> str:
    """The site that a certificate names: the end of its one URN, `urn:fedsurg:site:NAME`; nothing if there is none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0].removeprefix(URN) if len(uris) == len(names) == 1 and uris[0].startswith(URN) else ""


def verify_authority(authority: x509.Certificate, now: datetime, what: str) -> None:
    """Verify that this is a federation's own certificate, to be trusted if its fingerprint is.

    1. It may sign certificates and is signed by itself.
    2. It has begun and not ended.

    Raises:
        AlteredError, ClockError, ExpiredError: the step that failed.
    """
    # 1.
    try:
        may_sign = authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        authority.verify_directly_issued_by(authority)
    except Exception as problem:  # the library raises five kinds
        raise AlteredError(f"{what}: its authority did not sign itself; ask for the file again") from problem
    if not may_sign:
        raise AlteredError(f"{what}: its authority may not sign certificates; ask for the file again")
    # 2.
    require_begun(f"{what}: its authority", authority.not_valid_before_utc, now)
    require_not_ended(
        f"{what}: its authority", authority.not_valid_after_utc, now, "the coordinator has to make a new federation"
    )


def verify_site_certificate(
    certificate: x509.Certificate, authority: x509.Certificate, site: str, now: datetime, what: str
) -> None:
    """Verify that this is the site's certificate of this federation, good for a client of TLS now.

    1. It has begun and not ended.
    2. The authority signed it, for clients (chain, key usages and constraints as `cryptography` checks them).
    3. It names this site, in its URN and in its common name.

    Raises:
        AlteredError, ClockError, ExpiredError: the step that failed.
    """
    # 1.
    require_begun(f"{what}: its certificate", certificate.not_valid_before_utc, now)
    require_not_ended(
        f"{what}: its certificate",
        certificate.not_valid_after_utc,
        now,
        "ask the coordinator to revoke this site and to invite it again",
    )
    # 2. A clock that is late within the tolerance must not fail here.
    moment = max(now, certificate.not_valid_before_utc, authority.not_valid_before_utc)
    try:
        PolicyBuilder().store(Store([authority])).time(moment).build_client_verifier().verify(certificate, [])
    except VerificationError as problem:
        raise AlteredError(
            f"{what}: its certificate was not issued to a client by this federation's authority; ask for the file again"
        ) from problem
    # 3.
    if (site_of(certificate), common_name(certificate.subject)) != (site, site):
        raise AlteredError(f"{what}: its certificate does not name {site}; ask for the file again")


def newest_first(path: Path, certificate: x509.Certificate) -> str:
    """The certificates in a public file, with `certificate` before them: old signatures are checked with old ones.

    Raises:
        UnreadableError: the file is there and cannot be read.
    """
    pem = certificate_pem(certificate)
    try:
        earlier = path.read_text("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as problem:
        raise UnreadableError(f"{path}: cannot be read; restore it from a backup, or remove it") from problem
    return earlier if pem in earlier else pem + earlier


def begin(now: datetime) -> datetime:
    """When a certificate made now begins: a little earlier, for clocks that are late."""
    return now - CLOCK_SKEW

"""A log with a clock that stands still, and keys with certificates."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fedsurg.audit import AuditLog, Event
from fedsurg.joining.keys import make_key

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Identity(NamedTuple):
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def identity(name: str) -> Identity:
    key = make_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, NOON, NOON + timedelta(days=1))
    return Identity(key, builder.sign(key, hashes.SHA256()))


@pytest.fixture(scope="session")
def hospital() -> Identity:
    return identity("hospital-a")


@pytest.fixture(scope="session")
def coordinator() -> Identity:
    return identity("coordinator")


@pytest.fixture
def make_log(tmp_path: Path) -> Callable[..., AuditLog]:
    def make(name: str = "audit", **options: int) -> AuditLog:
        return AuditLog(tmp_path / name, "site hospital-a", now=lambda: NOON, **options)

    return make


@pytest.fixture
def log(make_log: Callable[..., AuditLog]) -> AuditLog:
    """A log with three lines."""
    found = make_log()
    for number in (1, 2, 3):
        found.append(Event("update left", study="ab" * 32, round=number, sha256="cd" * 32, bytes=100 * number))
    return found

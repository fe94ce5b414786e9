"""TLS between two processes of one machine: the SuperNode signs its requests only where the other end speaks TLS.

A certificate for 127.0.0.1 that nobody but this start knows; it protects nothing that leaves the machine.
"""

import ipaddress
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedsurg.errors import JoiningError
from fedsurg.files import write_atomic
from fedsurg.joining.clock import now
from fedsurg.joining.keys import private_pem

HOST = "127.0.0.1"
LIFETIME = timedelta(days=3650)  # longer than any start lasts; made anew at each
EARLY = timedelta(days=1)  # a clock that is set back meanwhile does no harm


@dataclass(frozen=True)
class Loopback:
    """The two files: key and certificate of the end that listens, and the certificate that the other end trusts."""

    pem: Path
    root: Path

    @classmethod
    def of(cls, run: Path) -> "Loopback":
        """Where they lie in the folder of running things."""
        return cls(run / "loopback.pem", run / "loopback-root.pem")


def make_loopback(run: Path) -> Loopback:
    """Write a new key and certificate for 127.0.0.1 to `run`, a private folder.

    Raises:
        JoiningError: they cannot be written.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedsurg on this machine")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    moment = now()
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), int.from_bytes(os.urandom(16)) >> 1)
        .not_valid_before(moment - EARLY)
        .not_valid_after(moment + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(Encoding.PEM)
    made = Loopback.of(run)
    write_atomic(made.pem, private_pem(key) + public, error=JoiningError)
    write_atomic(made.root, public, error=JoiningError)
    return made

"""The federation's own certificate authority: its key never leaves the coordinator's machine.

It signs three kinds of things: certificates of sites (for clients of TLS, with the site's name as
`urn:fedsurg:site:NAME`), the gateway's certificate (for a server, with its host), and invitations, admissions and the
list of revoked certificates.
"""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedsurg.errors import AlteredError
from fedsurg.joining.certificates import begin, certificate_pem, fingerprint_of, public_key, read_certificate_file
from fedsurg.joining.keys import HASH, make_key, private_pem, public_bytes, read_private_key
from fedsurg.joining.names import URN, is_address
from server.layout import AUTHORITY, AUTHORITY_KEY

AUTHORITY_VALIDITY = timedelta(days=3650)  # longer than a study runs; when it ends, all hospitals join anew


@dataclass(frozen=True)
class Authority:
    """The authority's certificate and private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def fingerprint(self) -> str:
        """What hospitals compare before they enrol."""
        return fingerprint_of(self.certificate)

    @property
    def pem(self) -> str:
        """The certificate, PEM."""
        return certificate_pem(self.certificate)

    def issue_site(
        self, key: ec.EllipticCurvePublicKey, site: str, now: datetime, validity: timedelta
    ) -> x509.Certificate:
        """A site's certificate, for clients of TLS."""
        urn = x509.UniformResourceIdentifier(URN + site)
        return self._issue(key, site, urn, ExtendedKeyUsageOID.CLIENT_AUTH, now, validity)

    def issue_gateway(
        self, key: ec.EllipticCurvePublicKey, host: str, now: datetime, validity: timedelta
    ) -> x509.Certificate:
        """The gateway's certificate, for a server of TLS at `host`."""
        name = x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host)
        return self._issue(key, "fedsurg gateway", name, ExtendedKeyUsageOID.SERVER_AUTH, now, validity)

    def _issue(
        self,
        key: ec.EllipticCurvePublicKey,
        common_name: str,
        name: x509.GeneralName,
        purpose: x509.ObjectIdentifier,
        now: datetime,
        validity: timedelta,
    ) -> x509.Certificate:
        end = min(now + validity, self.certificate.not_valid_after_utc)
        identifier = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            _builder(common_name, self.certificate.subject, key, now, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
            .sign(self.key, HASH())
        )


def make_authority(host: str, now: datetime) -> Authority:
    """A new authority; it signs itself, and certificates of ends only."""
    key = make_key()
    # The host makes two federations' authorities easy to tell apart; the longest name that X.509 allows has 64.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"fedsurg {host}"[:64])])
    certificate = (
        _builder(f"fedsurg {host}"[:64], name, key.public_key(), now, now + AUTHORITY_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(key, HASH())
    )
    return Authority(certificate, key)


def read_authority_certificate(folder: Path) -> x509.Certificate:
    """The public half, from `folder`/ca.pem.

    Raises:
        UnreadableError, AlteredError: it cannot be read, or is no certificate.
    """
    return read_certificate_file(folder / AUTHORITY, "give the coordinator's folder with --dir")


def read_authority(folder: Path) -> Authority:
    """Certificate and key from the coordinator's folder.

    Raises:
        UnreadableError: no certificate there.
        ExposedError: others may read the key.
        AlteredError: key and certificate do not belong together.
    """
    certificate = read_authority_certificate(folder)
    key = read_private_key(folder / AUTHORITY_KEY)
    if public_bytes(key.public_key()) != public_bytes(public_key(certificate)):
        raise AlteredError(
            f"{folder}: {AUTHORITY} and {AUTHORITY_KEY} do not belong together; restore both from one backup"
        )
    return Authority(certificate, key)


def gateway_pem(authority: Authority, host: str, now: datetime, validity: timedelta) -> tuple[bytes, x509.Certificate]:
    """A new key and certificate for the gateway, as one file for `ssl.SSLContext.load_cert_chain`."""
    key = make_key()
    certificate = authority.issue_gateway(key.public_key(), host, now, validity)
    return private_pem(key) + certificate_pem(certificate).encode() + authority.pem.encode(), certificate


def _builder(
    common_name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin(now))
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*granted: str) -> x509.KeyUsage:
    """Key usage with these rights and no other."""
    rights = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{right: right in granted for right in rights})

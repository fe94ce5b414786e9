"""A hospital's folder: who the site is, where its federation is, and its keys, which never leave it."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from fedsurg.audit.log import FOLDER, AuditLog
from fedsurg.errors import AlteredError, JoiningError
from fedsurg.files import toml_lines, write_atomic
from fedsurg.joining.certificates import public_key, read_certificate_file, verify_site_certificate
from fedsurg.joining.clock import Moment
from fedsurg.joining.envelope import Strict, read_settings
from fedsurg.joining.folders import require_owner_only
from fedsurg.joining.invitation import Hex64
from fedsurg.joining.keys import public_bytes, read_private_key
from fedsurg.joining.names import Host, Port, SiteName, at
from site_client.layout import AUTHORITY, FEDERATION_FILE, IDENTITY

RESTORE = "restore it from a backup"


class Membership(Strict):
    """The keys of the site's `federation.toml`."""

    site: SiteName
    data: str  # folder of the site's data
    host: Host  # of the gateway
    port: Port
    authority: Hex64  # fingerprint that was compared
    renew_from: Moment | None = None  # known once the site has joined
    proxy: str | None = None  # http://user:password@host:port; empty: none, whatever the environment says

    @property
    def address(self) -> str:
        """Host and port of the gateway."""
        return at(self.host, self.port)

    def text(self) -> str:
        """The file."""
        head = "# Written by fedsurg site enrol and join. `data` and `proxy` may be changed by hand.\n"
        return head + toml_lines(self.model_dump(mode="json"))


@dataclass(frozen=True)
class Identity:
    """What a site is known by: certificate, its private key, and the authority that signed it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    authority: x509.Certificate


def read_membership(folder: Path) -> Membership:
    """Read and validate `folder`/federation.toml.

    Raises:
        UnreadableError: no such file, not TOML, or a key that is missing, unknown or not allowed.
        ExposedError: others may enter the folder.
    """
    missing = "enrol with fedsurg site enrol, or give the site's folder with --dir"
    membership = read_settings(folder / FEDERATION_FILE, Membership, missing)
    require_owner_only(folder)
    return membership


def write_membership(folder: Path, membership: Membership) -> None:
    """Replace the file.

    Raises:
        JoiningError: it cannot be written; the old one is there.
    """
    write_atomic(folder / FEDERATION_FILE, membership.text(), error=JoiningError)


def site_log(folder: Path) -> AuditLog:
    """The site's audit log."""
    return AuditLog(folder / FOLDER, "site")


def is_joined(folder: Path) -> bool:
    """The site has a certificate, whatever its dates."""
    return (folder / IDENTITY).exists()


def read_identity(folder: Path, site: str, now: datetime) -> Identity:
    """The site's certificate and key, fit for use now.

    Raises:
        JoiningError: the site has not joined, or the file is damaged.
        ClockError, ExpiredError: the certificate is not good now.
        ExposedError: others may read the key.
    """
    path = folder / IDENTITY
    if not is_joined(folder):
        raise JoiningError(
            f"{folder}: {site} has not joined yet; run fedsurg site join with the coordinator's admission"
        )
    key = read_private_key(path)
    certificate = read_certificate_file(path, RESTORE)
    if public_bytes(public_key(certificate)) != public_bytes(key.public_key()):
        raise AlteredError(f"{path}: key and certificate do not belong together; restore it from a backup")
    authority = read_certificate_file(folder / AUTHORITY, RESTORE)
    verify_site_certificate(certificate, authority, site, now, str(path))
    return Identity(certificate, key, authority)

"""The list of revoked certificates, `crl.pem`: the truth about what is revoked, from the moment it is written.

It is replaced whole at each revocation. A gateway asks a `RevocationList` at each handshake; the list notices a new
file by itself.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fedsurg.errors import AlteredError, JoiningError, UnreadableError
from fedsurg.files import look_at, write_atomic
from fedsurg.joining.certificates import begin, public_key
from fedsurg.joining.keys import HASH
from server.authority import Authority, read_authority_certificate
from server.layout import REVOKED

SUPERSEDED = x509.ReasonFlags.superseded  # a newer certificate of the site is in use
WITHDRAWN = x509.ReasonFlags.privilege_withdrawn  # a person revoked the site


def empty_list(authority: Authority, now: datetime) -> bytes:
    """The list of a new federation, PEM."""
    return _signed(authority, [], 1, now)


def add_revoked(
    folder: Path, authority: Authority, serials: Iterable[int], reason: x509.ReasonFlags, now: datetime
) -> None:
    """Add certificates to the list and replace the file; those that are on it stay as they are.

    Raises:
        UnreadableError, AlteredError: the present list is lost or not the authority's; no new one may hide that.
        JoiningError: it cannot be written; the present one holds.
    """
    path = folder / REVOKED
    present = read_revoked(path, authority.certificate)
    added = sorted(set(serials) - {entry.serial_number for entry in present})
    number = present.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
    entries = [*present, *(_entry(serial, reason, now) for serial in added)]
    write_atomic(path, _signed(authority, entries, number, now), error=JoiningError)


def read_revoked(path: Path, authority: x509.Certificate) -> x509.CertificateRevocationList:
    """The list, its signature checked.

    Raises:
        UnreadableError: no such file, or no list.
        AlteredError: not signed by this authority.
    """
    advice = "restore it from a backup; until then no site can be let in"
    try:
        found = x509.load_pem_x509_crl(path.read_bytes())
    except (OSError, ValueError) as problem:
        raise UnreadableError(f"{path}: no list of revoked certificates can be read; {advice}") from problem
    if not found.is_signature_valid(public_key(authority)):
        raise AlteredError(f"{path}: not signed by this federation's authority; {advice}")
    return found


class RevocationList:
    """Answers which certificates are revoked, and reads the file again when it has changed.

    Args:
        folder: the coordinator's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / REVOKED
        self._authority = read_authority_certificate(folder)
        self._seen: tuple[int, int, int] | None = None
        self._serials: frozenset[int] = frozenset()

    def is_revoked(self, serial: int) -> bool:
        """The certificate of this number is on the list as it is now on disk.

        Raises:
            UnreadableError, AlteredError: there is no list to trust; whoever asks has to refuse.
        """
        seen = look_at(self._path)
        if seen is None or seen != self._seen:
            self._serials = frozenset(entry.serial_number for entry in read_revoked(self._path, self._authority))
            self._seen = seen
        return serial in self._serials


def _signed(authority: Authority, entries: Iterable[x509.RevokedCertificate], number: int, now: datetime) -> bytes:
    identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    # The gateway reads the list from its own disk, so it cannot go stale on a way; an end before the authority's
    # would only stop the federation on the day that someone forgot it.
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(begin(now))
        .next_update(authority.certificate.not_valid_after_utc)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    for entry in entries:
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(authority.key, HASH()).public_bytes(Encoding.PEM)


def _entry(serial: int, reason: x509.ReasonFlags, now: datetime) -> x509.RevokedCertificate:
    return (
        x509.RevokedCertificateBuilder()
        .serial_number(serial)
        .revocation_date(now)
        .add_extension(x509.CRLReason(reason), critical=False)
        .build()
    )

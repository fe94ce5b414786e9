"""The admission: from the coordinator to a hospital, the answer to one request. It holds nothing secret."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from fedsurg.errors import AlteredError, ForeignError
from fedsurg.joining.certificates import fingerprint_of, public_key, read_certificate, verify_site_certificate
from fedsurg.joining.clock import Moment
from fedsurg.joining.envelope import Strict, envelope, open_envelope, signed_bytes
from fedsurg.joining.invitation import PROOF, Hex64
from fedsurg.joining.keys import is_signed, public_bytes, sign
from fedsurg.joining.names import Host, Port, SiteName
from fedsurg.joining.request import Request

KIND = "admission"


class Admission(Strict):
    """What an admission says."""

    site: SiteName
    request: Hex64  # digest of the request that it answers
    certificate: str  # of the site, PEM
    authority: str  # the authority's certificate, PEM: the whole chain
    host: Host  # where the gateway is
    port: Port
    created: Moment
    renew_from: Moment  # from here on the site should renew


@dataclass(frozen=True)
class TrustedAdmission:
    """An admission that was checked, and its two certificates."""

    body: Admission
    certificate: x509.Certificate
    authority: x509.Certificate


def admission_text(body: Admission, authority_key: ec.EllipticCurvePrivateKey) -> str:
    """The file."""
    return envelope(KIND, body, {PROOF: sign(authority_key, signed_bytes(KIND, body))})


def read_admission(path: Path, request: Request, key: ec.EllipticCurvePublicKey, now: datetime) -> TrustedAdmission:
    """Verify that this is the answer of our federation to our request.

    1. The file is a whole admission of our version.
    2. Its authority is the one that the request asked: the one whose fingerprint was compared when the site enrolled.
    3. That authority signed all of it.
    4. It is for this site, and answers this very request.
    5. Its certificate is this site's, issued by that authority to a client, good now.
    6. Its certificate is for the key that was made here.

    Args:
        path: the file.
        request: the request that waits for an answer.
        key: the public part of the key made with it.
        now: time.

    Raises:
        UnreadableError, ForeignError, AlteredError, ClockError, ExpiredError: the step that failed.
    """
    # 1.
    body, proofs = open_envelope(path, KIND, Admission)
    # 2.
    authority = read_certificate(body.authority, str(path))
    if fingerprint_of(authority) != request.federation:
        raise ForeignError(f"{path}: from another federation than the one this site asked; ask for the right file")
    # 3.
    if set(proofs) != {PROOF} or not is_signed(public_key(authority), signed_bytes(KIND, body), proofs[PROOF]):
        raise AlteredError(f"{path}: changed after the coordinator signed it; ask for the file again")
    # 4.
    if body.site != request.site:
        raise ForeignError(f"{path}: for {body.site}, this site is {request.site}; ask for the file of {request.site}")
    if body.request != request.digest:
        raise ForeignError(
            f"{path}: answers another request of {request.site} than the one that waits here; send the coordinator the "
            "newest request and take the admission made from it"
        )
    # 5.
    certificate = read_certificate(body.certificate, str(path))
    verify_site_certificate(certificate, authority, body.site, now, str(path))
    # 6.
    if public_bytes(public_key(certificate)) != public_bytes(key):
        raise AlteredError(f"{path}: its certificate is for another key than this site's; ask for the file again")
    return TrustedAdmission(body, certificate, authority)

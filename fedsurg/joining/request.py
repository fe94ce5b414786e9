"""The request: from a hospital to the coordinator, to join with an invitation or to renew its certificate.

It holds public keys alone, and proofs that its author has the private ones. It need not be kept secret.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pydantic import Field, model_validator

from fedsurg.errors import AlteredError
from fedsurg.joining.certificates import common_name, public_key
from fedsurg.joining.clock import Moment, require_begun
from fedsurg.joining.envelope import Strict, envelope, open_envelope, signed_bytes
from fedsurg.joining.invitation import Hex32, Hex64
from fedsurg.joining.keys import HASH, fingerprint, is_signed, public_openssh, read_node_key, sign
from fedsurg.joining.names import SiteName

KIND = "request"
BY_TOKEN, BY_CERTIFICATE, BY_SITE_KEY, BY_NODE_KEY = "token", "certificate", "site", "node"

Serial = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class Request(Strict):
    """What a request says. Either `invitation` or `certificate` is given."""

    site: SiteName
    federation: Hex64  # fingerprint of the authority that is asked
    created: Moment
    invitation: Hex32 | None  # joining: the invitation that is answered
    certificate: Serial | None  # renewing: serial number of the certificate in use
    csr: str  # signing request for the new certificate's key, PEM
    node_public_key: str  # for Flower, one OpenSSH line

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.invitation is None) == (self.certificate is None):
            raise ValueError("give either the invitation or the certificate that the request builds on")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 over all it says: its fingerprint for people, and what an admission is bound to."""
        return fingerprint(signed_bytes(KIND, self))


@dataclass(frozen=True)
class SealedRequest:
    """A request as read, its proofs not yet checked."""

    path: Path
    body: Request
    proofs: dict[str, str]


@dataclass(frozen=True)
class SiteKeys:
    """The private keys of a site: of its certificate, and of its Flower node."""

    site: ec.EllipticCurvePrivateKey
    node: ec.EllipticCurvePrivateKey


def make_request(
    site: str,
    federation: str,
    keys: SiteKeys,
    now: datetime,
    *,
    invitation: str | None = None,
    certificate: str | None = None,
) -> Request:
    """A request for a certificate on `keys.site`."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(keys.site, HASH())
    return Request(
        site=site,
        federation=federation,
        created=now,
        invitation=invitation,
        certificate=certificate,
        csr=csr.public_bytes(Encoding.PEM).decode(),
        node_public_key=public_openssh(keys.node.public_key()),
    )


def request_text(body: Request, keys: SiteKeys, right: str | ec.EllipticCurvePrivateKey) -> str:
    """The file.

    Args:
        body: what it says.
        keys: both sign.
        right: what entitles the site: the invitation's token, or the private key of the certificate in use.
    """
    message = signed_bytes(KIND, body)
    by_right = {BY_TOKEN: _mac(right, message)} if isinstance(right, str) else {BY_CERTIFICATE: sign(right, message)}
    return envelope(
        KIND, body, by_right | {BY_SITE_KEY: sign(keys.site, message), BY_NODE_KEY: sign(keys.node, message)}
    )


def read_request(path: Path) -> SealedRequest:
    """A request whose proofs are not yet checked.

    Raises:
        UnreadableError: not a whole request of our version.
    """
    body, proofs = open_envelope(path, KIND, Request)
    return SealedRequest(path, body, proofs)


def verify_request(
    request: SealedRequest, right: str | ec.EllipticCurvePublicKey, now: datetime
) -> ec.EllipticCurvePublicKey:
    """Verify that the site that is entitled wrote all of this, and has the private keys.

    1. It is not from the future.
    2. It carries the proofs of its kind, no more and no fewer.
    3. The proof of its right fits: HMAC-SHA256 with the invitation's token, or a signature by the certificate in use.
    4. The signing request is signed by its own key, on our curve, for this site; the same key signed the request.
    5. The node's key is on our curve and signed the request.

    Args:
        request: as read.
        right: the token of the invitation that it names, or the public key of the certificate that it names.
        now: time.

    Returns:
        The key to be certified.

    Raises:
        ClockError, AlteredError: the step that failed.
    """
    path, body, proofs = request.path, request.body, request.proofs
    message = signed_bytes(KIND, body)
    # 1.
    require_begun(f"{path}: the request", body.created, now)
    # 2.
    by_right = BY_TOKEN if isinstance(right, str) else BY_CERTIFICATE
    if set(proofs) != {by_right, BY_SITE_KEY, BY_NODE_KEY}:
        raise AlteredError(f"{path}: its proofs are {sorted(proofs)}; ask for the file again")
    # 3.
    if isinstance(right, str):
        if not hmac.compare_digest(_mac(right, message).encode(), proofs[BY_TOKEN].encode()):
            raise AlteredError(
                f"{path}: not made with the invitation that {body.site} was sent, or changed since; do not admit "
                "it, ask the hospital"
            )
    elif not is_signed(right, message, proofs[BY_CERTIFICATE]):
        raise AlteredError(
            f"{path}: not signed with the certificate that {body.site} uses, or changed since; do not admit it, "
            "ask the hospital"
        )
    # 4.
    key = _certified_key(body, str(path))
    if not is_signed(key, message, proofs[BY_SITE_KEY]):
        raise AlteredError(f"{path}: its author does not hold the site's private key; do not admit it")
    # 5.
    if not is_signed(read_node_key(body.node_public_key, str(path)), message, proofs[BY_NODE_KEY]):
        raise AlteredError(f"{path}: its author does not hold the node's private key; do not admit it")
    return key


def _certified_key(body: Request, what: str) -> ec.EllipticCurvePublicKey:
    """The key of the signing request, which is signed by it and names the site."""
    try:
        csr = x509.load_pem_x509_csr(body.csr.encode())
        key = public_key(csr)
        signed = csr.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as problem:
        raise AlteredError(f"{what}: its signing request cannot be read; ask for the file again") from problem
    if not signed:
        raise AlteredError(f"{what}: its signing request is not signed by its own key; ask for the file again")
    if common_name(csr.subject) != body.site:
        raise AlteredError(
            f"{what}: its signing request is for {common_name(csr.subject)!r}, the request for {body.site!r}; do not "
            "admit it, ask the hospital"
        )
    return key


def _mac(token: str, message: bytes) -> str:
    return hmac.new(bytes.fromhex(token), message, hashlib.sha256).hexdigest()

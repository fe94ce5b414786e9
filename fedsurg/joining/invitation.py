"""The invitation: from the coordinator to one hospital, by a channel that others cannot read.

It holds a token that works once. Whoever has it can ask to join under this name, so it travels encrypted, or by hand.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field

from fedsurg.errors import AlteredError
from fedsurg.joining.certificates import certificate_pem, fingerprint_of, public_key, read_certificate, verify_authority
from fedsurg.joining.clock import Moment, require_begun, require_not_ended
from fedsurg.joining.envelope import Strict, envelope, open_envelope, signed_bytes
from fedsurg.joining.keys import is_signed, sign
from fedsurg.joining.names import Host, Port, SiteName

KIND = "invitation"
PROOF = "federation"  # the authority's signature, in an invitation and in an admission
TOKEN_BYTES = 32  # cannot be guessed; the key of an HMAC-SHA256 has this length

Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Invitation(Strict):
    """What an invitation says."""

    id: Hex32  # not secret; tells which invitation a request answers
    site: SiteName
    host: Host  # where the gateway is, or will be
    port: Port
    authority: str  # the authority's certificate, PEM
    fingerprint: Hex64  # of that certificate, for people
    token: Hex64  # secret, works once
    created: Moment
    expires: Moment


@dataclass(frozen=True)
class TrustedInvitation:
    """An invitation that was checked, and its authority's certificate."""

    body: Invitation
    authority: x509.Certificate


def invitation_text(body: Invitation, authority_key: ec.EllipticCurvePrivateKey) -> str:
    """The file."""
    return envelope(KIND, body, {PROOF: sign(authority_key, signed_bytes(KIND, body))})


def read_invitation(path: Path, now: datetime) -> TrustedInvitation:
    """Verify that this invitation may be answered.

    1. The file is a whole invitation of our version.
    2. It holds an authority's certificate, and that has the fingerprint written beside it.
    3. The authority signed all of it.
    4. It is not from the future and has not ended.

    This shows that the file is as its author wrote it, not who the author is: for that people compare the fingerprint
    by another channel.

    Raises:
        UnreadableError, AlteredError, ClockError, ExpiredError: the step that failed.
    """
    # 1.
    body, proofs = open_envelope(path, KIND, Invitation)
    # 2.
    authority = read_certificate(body.authority, str(path))
    if fingerprint_of(authority) != body.fingerprint or certificate_pem(authority) != body.authority:
        raise AlteredError(f"{path}: the authority's certificate and its fingerprint differ; ask for the file again")
    # 3.
    if set(proofs) != {PROOF} or not is_signed(public_key(authority), signed_bytes(KIND, body), proofs[PROOF]):
        raise AlteredError(f"{path}: changed after the coordinator signed it; ask for the file again")
    # 4.
    require_begun(f"{path}: the invitation", body.created, now)
    require_not_ended(f"{path}: the invitation", body.expires, now, "ask the coordinator for a new one")
    verify_authority(authority, now, str(path))
    return TrustedInvitation(body, authority)

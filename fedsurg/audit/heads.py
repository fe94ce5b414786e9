"""Signed heads: each end gives the other its newest line's hash, signed, once per round.

The head that one end keeps is a line in its own log. So neither end can rewrite what it logged before: the other holds
the proof. A signature is ECDSA over the head's canonical JSON with the key that the federation's CA certified.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fedsurg.audit.log import AuditLog, Event, read_events
from fedsurg.errors import AuditError
from fedsurg.files import canonical_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

_PURPOSE = b"fedsurg audit head 1\n"  # so that no signature for another purpose passes as one of a head
KEPT = "head of the other end"
ACCEPTED = "new log of the other end accepted"  # on a person's word: after a loss, or a restore from a backup

_newest: dict[tuple[Path, str], "SignedHead"] = {}  # of each log that a log here keeps heads of: saves reading it again
_guard = threading.Lock()


@dataclass(frozen=True)
class SignedHead:
    """The head of the log called `log`: number and SHA-256 of its newest line, when, and the signature (base64)."""

    log: str
    sequence: int
    sha256: str
    time: str
    signature: str = ""

    def facts(self) -> dict[str, str | int]:
        """As plain scalars, for a message or a line."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, object]) -> "SignedHead":
        """Read one.

        Raises:
            AuditError: a field is missing, unknown or of another type.
        """
        names = [field.name for field in fields(cls)]
        if sorted(facts) != sorted(names):
            raise AuditError(f"a signed head has the fields {sorted(map(str, facts))}, expected {sorted(names)}")
        log, sequence, sha256, time, signature = (facts[name] for name in names)
        texts = (log, sha256, time, signature)
        if isinstance(sequence, bool) or not isinstance(sequence, int) or not all(isinstance(t, str) for t in texts):
            raise AuditError("a signed head has fields of the wrong type; update fedsurg on both ends")
        try:
            "".join(map(str, texts)).encode()
        except UnicodeEncodeError:
            raise AuditError("a signed head has halves of letters; it is damaged, ask for it again") from None
        return cls(str(log), sequence, str(sha256), str(time), str(signature))

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return _PURPOSE + canonical_json({k: v for k, v in self.facts().items() if k != "signature"}).encode()


def sign_head(log: AuditLog, name: str, key: "EllipticCurvePrivateKey") -> SignedHead:
    """The log's newest line, signed under the log's `name` with this end's private key.

    Raises:
        AuditError: the log cannot be read.
    """
    from fedsurg.joining.keys import sign  # it imports cryptography

    head = log.head()
    bare = SignedHead(name, head.sequence, head.sha256, datetime.now(UTC).isoformat(timespec="milliseconds"))
    return replace(bare, signature=sign(key, bare.signed_bytes()))


def verify_head(head: SignedHead, certificates: Sequence["Certificate"]) -> None:
    """Check a head's signature against any of an end's certificates, of which there are several after a renewal.

    Whether a certificate is the federation's is checked where it is taken in; whether it has ended does not matter for
    what was signed before.

    Raises:
        AuditError: no certificate fits, or the signature is none.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    from fedsurg.joining.keys import is_signed

    keys = [certificate.public_key() for certificate in certificates]
    message = head.signed_bytes()
    if not any(isinstance(key, ec.EllipticCurvePublicKey) and is_signed(key, message, head.signature) for key in keys):
        raise AuditError(
            f"the head of {head.log!r} at line {head.sequence} is not signed by that end's key; "
            "give all certificates it has had, or ask it for its log"
        )


def keep_head(log: AuditLog, head: SignedHead, name: str, certificates: Sequence["Certificate"]) -> None:
    """Take in the other end's head, as a line of this log.

    1. It is the head of the log `name`: of the end that the connection says is there.
    2. It is signed by that end's key.
    3. It is not behind the newest one kept of that log, and not another line of the same number; unless a person
       accepted meanwhile that the log begins anew.

    Raises:
        AuditError: naming the rule; a head that goes back or contradicts is logged as such first.
    """
    # 1.
    if head.log != name:
        raise AuditError(f"the other end is {name!r}, its head is of the log {head.log!r}")
    # 2.
    verify_head(head, certificates)
    # 3.
    with _guard:
        place = (log.folder.resolve(), name)
        wrong = _contradiction(_newest.get(place) or _last(log, name), head)
        if wrong and place in _newest:  # what is remembered may be older than a person's word in the log
            wrong = _contradiction(_last(log, name), head)
        log.append(Event("head of the other end REFUSED" if wrong else KEPT, why=wrong, facts=head.facts()))
        if wrong:
            raise AuditError(wrong)
        _newest[place] = head


def kept_heads(folder: Path, name: str) -> list[SignedHead]:
    """The heads of the log `name` that the log in `folder` has kept, oldest first; since it began anew, if it did."""
    found: list[SignedHead] = []
    for line in read_events(folder):
        if isinstance(line["facts"], dict) and line["facts"].get("log") == name:
            if line["what"] == KEPT:
                found.append(SignedHead.from_facts(line["facts"]))
            elif line["what"] == ACCEPTED:
                found = []
    return found


def accept_new_log(log: AuditLog, name: str, why: str, who: str) -> int:
    """Take a person's word that the log `name` begins anew or goes on from an older copy.

    The heads kept so far stay in this log as they are; what comes is no longer held against them.

    Returns:
        How many heads that were.

    Raises:
        AuditError: none was kept of such a log.
    """
    before = kept_heads(log.folder, name)
    if not before:
        raise AuditError(f"{log.folder}: has no head of a log {name!r}; names stand in audit show")
    facts = {"log": name, "line": before[-1].sequence}
    log.append(Event(ACCEPTED, why=why, facts=facts), who=who)
    return len(before)


def _last(log: AuditLog, name: str) -> SignedHead | None:
    return next(reversed(kept_heads(log.folder, name)), None)


def _contradiction(newest: SignedHead | None, head: SignedHead) -> str:
    if newest is None:
        return ""
    if head.sequence < newest.sequence:
        return (
            f"the log {head.log!r} had {newest.sequence} lines and now shows {head.sequence}: it was cut or replaced; "
            "call that end, then see audit accept"
        )
    if head.sequence == newest.sequence and head.sha256 != newest.sha256:
        return (
            f"line {head.sequence} of the log {head.log!r} is another one than before: it was rewritten; call that end"
        )
    return ""

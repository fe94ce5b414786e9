"""The audit log of both ends: chained lines, signed heads, verification."""

from fedsurg.audit.heads import SignedHead, accept_new_log, keep_head, kept_heads, sign_head, verify_head
from fedsurg.audit.log import AuditLog, Event, Head
from fedsurg.audit.verify import Verified, verify_log

__all__ = [
    "AuditLog",
    "Event",
    "Head",
    "SignedHead",
    "Verified",
    "accept_new_log",
    "keep_head",
    "kept_heads",
    "sign_head",
    "verify_head",
    "verify_log",
]

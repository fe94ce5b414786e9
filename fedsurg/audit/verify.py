"""Verification of a whole log: the first bad line, with its file and number, or that all is well."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fedsurg.audit.heads import SignedHead, verify_head
from fedsurg.audit.log import FIRST, Head, Line, content_of, decoded, encoded, first_of, log_files, own_digest
from fedsurg.errors import AuditError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


@dataclass
class Verified:
    """What was verified: files, lines, the head, how many heads fitted; `notes` is what a person should know."""

    files: int = 0
    head: Head = Head(0, FIRST)  # noqa: RUF009 (frozen)
    heads: int = 0
    notes: list[str] = field(default_factory=list)


def verify_log(folder: Path, heads: Sequence[SignedHead] = (), certificates: Sequence["Certificate"] = ()) -> Verified:
    """Read a log from its first line to its last.

    1. There is a log, and its first file begins with line 1.
    2. Every line is a JSON object with the known fields, written the one way that values are written.
    3. Its number is one more than that of the line before; a file's first line has the number in the file's name.
    4. `before` is the SHA-256 of the line before, over files too.
    5. `own` is the SHA-256 of the line itself without it: so a change in the last line shows as well.
    6. Only at the end of the newest file may a line be half-written. That is noted, and so is a file of such a line
       that no line tells of.
    7. Every head is signed by this log's end, and its line is the one that is here.

    What nobody holds a signed head of can be cut off the end of a log without a trace: the heads that the other end
    keeps close that gap, up to the last round.

    Raises:
        AuditError: naming the first bad line: its file, its number there, and what is wrong.
    """
    found, told = Verified(), set[str]()
    wanted = {head.sequence for head in heads}
    digests: dict[int, str] = {}
    # 1.
    files = log_files(folder)
    if not files:
        raise AuditError(f"{folder}: holds no audit log; give the folder with --dir")
    if first_of(files[0]) != 1:
        raise AuditError(
            f"{files[0]}: is the first file, but begins with line {first_of(files[0])}; older files are gone"
        )
    for path in files:
        *lines, rest = content_of(path).split(b"\n")
        if lines and first_of(path) != found.head.sequence + 1:
            raise AuditError(f"{path}: line 1: the log ends with {found.head.sequence} before it; a file is missing")
        for number, line in enumerate(lines, 1):
            values = _check_line(line, f"{path}: line {number}", found.head)
            found.head = Head(found.head.sequence + 1, hashlib.sha256(line).hexdigest())
            if found.head.sequence in wanted:
                digests[found.head.sequence] = found.head.sha256
            if isinstance(values["facts"], dict):
                told.add(str(values["facts"].get("file")))
        # 6.
        if rest and path != files[-1]:
            raise AuditError(f"{path}: line {len(lines) + 1}: is half-written, but a newer file follows")
        if rest:
            found.notes.append(f"{path}: line {len(lines) + 1} is half-written; the next line's writer sets it aside")
        found.files += 1
    untold = [path.name for path in sorted(folder.glob("torn-*.bin")) if path.name not in told]
    found.notes += [f"{folder / name}: a half-written line that no line of the log tells of" for name in untold]
    _check_heads(heads, certificates, found, digests, folder)
    return found


def _check_line(line: bytes, where: str, before: Head) -> Line:
    # 2.
    values = decoded(line, where)
    if encoded(values) != line:
        raise AuditError(f"{where}: is not written as this log writes; it was edited")
    # 3.
    if values["sequence"] != before.sequence + 1:
        raise AuditError(f"{where}: has number {values['sequence']}, expected {before.sequence + 1}; lines are missing")
    # 4.
    if values["before"] != before.sha256:
        raise AuditError(f"{where}: does not follow from the line before it; that line or this one was changed")
    # 5.
    if values["own"] != own_digest(values):
        raise AuditError(f"{where}: was changed after it was written")
    return values


def _check_heads(
    heads: Sequence[SignedHead],
    certificates: Sequence["Certificate"],
    found: Verified,
    digests: dict[int, str],
    folder: Path,
) -> None:
    # 7.
    for head in heads:
        verify_head(head, certificates)
        if head.sequence == 0:
            continue
        if head.sequence > found.head.sequence:
            raise AuditError(
                f"{folder}: ends with line {found.head.sequence}, but was signed with {head.sequence} lines at "
                f"{head.time}; its end was cut off"
            )
        if digests[head.sequence] != head.sha256:
            raise AuditError(
                f"{folder}: line {head.sequence} of the log is not the one that was signed at {head.time}; "
                "it was rewritten"
            )
        found.heads += 1

"""The audit log: one JSON line per event, each with the SHA-256 of the line before it.

A line is on disk when `append` returns. Several processes may write to one log. The file changes when it is large; the
chain goes on over files. What a crash left half-written at the end is put beside the log and said in it.
"""

import contextlib
import hashlib
import json
import os
import pwd
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedsurg.errors import AuditError
from fedsurg.files import file_lock, sync_folder, write_atomic

ROTATE_BYTES = 8 << 20  # about 20,000 events: still opened by an editor, and read in well under a second
MAX_LINE_BYTES = 64 << 10  # so that the last line is found with one read; a line with a signed head has about 1 KiB
MAX_REASON = 1000  # characters; more is cut, so that no error message can fill the log
FOLDER = "audit"  # below the directory of either end
FIRST = "0" * 64  # stands for the line before the first

FIELDS = ("sequence", "time", "who", "what", "study", "round", "sha256", "bytes", "why", "facts", "before", "own")
_NAME = re.compile(r"audit-(\d{10})\.jsonl")

Line = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Args:
        what: in a few words, always the same ones for the same thing.
        study: digest of the study, where there is one.
        round: likewise; 0: none.
        sha256: of the bytes that came or left.
        bytes: how many.
        why: of a decision; the reason in one line.
        facts: whatever else, as plain values.
    """

    what: str
    study: str = ""
    round: int = 0
    sha256: str = ""
    bytes: int = 0
    why: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Head:
    """The newest line: its number from 1, and the SHA-256 of its bytes. (0, zeros): an empty log."""

    sequence: int
    sha256: str


class AuditLog:
    """The log in one folder.

    Args:
        folder: made with the first line.
        who: writes, for example `site hospital-a`.
        rotate_bytes: size from which on a new file is begun.
        now: the time; for tests.
    """

    def __init__(
        self,
        folder: Path,
        who: str,
        *,
        rotate_bytes: int = ROTATE_BYTES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.folder, self.who = folder, who
        self._rotate_bytes, self._now = rotate_bytes, now

    def append(self, event: Event, *, who: str = "") -> Head:
        """Write one line and wait until it is on disk; returns the new head.

        Args:
            event: what happened.
            who: did it, where that is not the log's own `who`.

        Raises:
            AuditError: the disk is full, the folder cannot be written, or the log's last line is damaged. Nothing
                was added then: what was to be logged must not go on.
        """
        with self._locked():
            head = self._mend()
            return self._write(event, who or self.who, head)

    def head(self) -> Head:
        """The newest whole line.

        Raises:
            AuditError: it cannot be read.
        """
        return self._head()[0]

    def _mend(self) -> Head:
        """The head, after setting aside what a crash left behind it."""
        head, path, torn = self._head()
        if not torn:
            return head
        digest = hashlib.sha256(torn).hexdigest()
        aside = self.folder / f"torn-{head.sequence:010d}-{digest[:8]}.bin"
        write_atomic(aside, torn, error=AuditError)
        with _explained(path), path.open("r+b") as file:
            file.truncate(path.stat().st_size - len(torn))
            os.fsync(file.fileno())
        why = "a line was half-written when a process or the machine stopped"
        event = Event("torn line set aside", sha256=digest, bytes=len(torn), why=why, facts={"file": aside.name})
        return self._write(event, self.who, head)

    def _write(self, event: Event, who: str, head: Head) -> Head:
        line = self._line(event, who, head)
        files = log_files(self.folder)
        path = files[-1] if files else self.folder / f"audit-{1:010d}.jsonl"
        if files and path.stat().st_size >= self._rotate_bytes:
            path = self.folder / f"audit-{head.sequence + 1:010d}.jsonl"
        with _explained(path):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                _append_whole(handle, line)
            finally:
                os.close(handle)
            sync_folder(self.folder)
        return Head(head.sequence + 1, hashlib.sha256(line[:-1]).hexdigest())

    def _line(self, event: Event, who: str, head: Head) -> bytes:
        values = asdict(event) | {
            "sequence": head.sequence + 1,
            "time": self._now().astimezone(UTC).isoformat(timespec="milliseconds"),
            "who": who,
            "why": event.why[:MAX_REASON],
            "before": head.sha256,
        }
        line = encoded(values | {"own": own_digest(values)}) + b"\n"
        if len(line) > MAX_LINE_BYTES:
            raise AuditError(f"{self.folder}: an event of {len(line)} bytes is too long, the limit is {MAX_LINE_BYTES}")
        return line

    def _head(self) -> tuple[Head, Path, bytes]:
        """The head, the newest file that has bytes, and the bytes of a half-written line at its end."""
        torn, torn_in = b"", self.folder
        for path in reversed(log_files(self.folder)):
            with _explained(path):
                last, rest = _last_line(path)
            if rest and not torn:
                torn, torn_in = rest, path
            if last:
                return _head_of(last, path), torn_in if torn else path, torn
        return Head(0, FIRST), torn_in, torn

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, over processes and threads; the lock goes with its holder."""
        with _explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with file_lock(self.folder / "lock", error=AuditError):
            yield


def account() -> str:
    """The account at the machine that this process runs under, as a line's `who`: what the system says of it."""
    try:
        return f"user {pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # a container may have numbers alone
        return f"user {os.getuid()}"


def log_files(folder: Path) -> list[Path]:
    """The files of a log, oldest first; a file's name holds the number of its first line."""
    with _explained(folder):
        return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name)) if folder.is_dir() else []


def first_of(path: Path) -> int:
    """The number of a file's first line, as its name says."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def content_of(path: Path) -> bytes:
    """The bytes of one file of a log.

    Raises:
        AuditError: it cannot be read.
    """
    with _explained(path):
        return path.read_bytes()


def read_events(folder: Path) -> Iterator[Line]:
    """All whole lines as plain values, oldest first, not verified.

    Raises:
        AuditError: a line is no JSON object; `audit verify` says more.
    """
    for path in log_files(folder):
        for number, line in enumerate(content_of(path).split(b"\n")[:-1], 1):
            yield decoded(line, f"{path}: line {number}")


def decoded(line: bytes, where: str) -> Line:
    """The values of one line.

    Raises:
        AuditError: it is no JSON object with exactly the known fields.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise AuditError(f"{where}: is no JSON ({problem}); keep the folder, and begin a new log elsewhere") from None
    if not isinstance(values, dict) or set(values) != set(FIELDS):
        raise AuditError(f"{where}: has other fields than {', '.join(FIELDS)}; keep the folder, and begin a new log")
    return values


def encoded(values: Line) -> bytes:
    """A line's bytes: ASCII, sorted keys, no spaces; equal values give equal bytes."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False, default=str).encode("ascii")


def own_digest(values: Line) -> str:
    """SHA-256 (hex) of a line without its field `own`: so a change in the very last line shows as well."""
    return hashlib.sha256(encoded({key: value for key, value in values.items() if key != "own"})).hexdigest()


def _head_of(line: bytes, path: Path) -> Head:
    values = decoded(line, f"{path}: last line")
    if values["own"] != own_digest(values) or not isinstance(values["sequence"], int):
        raise AuditError(
            f"{path}: the last line was changed; nothing is added to a damaged log. Look with audit verify, move the "
            "folder away as evidence, and a new log begins"
        )
    return Head(values["sequence"], hashlib.sha256(line).hexdigest())


def _last_line(path: Path) -> tuple[bytes, bytes]:
    """The last whole line (without its end; empty: none), and what follows it."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        for look in (2 * MAX_LINE_BYTES, size):
            file.seek(max(0, size - look))
            whole, end, torn = file.read().rpartition(b"\n")
            if (end and b"\n" in whole) or look >= size:
                break
    return whole.rpartition(b"\n")[2], torn


def _append_whole(handle: int, line: bytes) -> None:
    """The line and the wait for the disk; on a failure the file is as before."""
    size = os.fstat(handle).st_size
    try:
        written = os.write(handle, line)
        if written != len(line):
            raise OSError(28, "No space left on device")
        os.fsync(handle)
    except OSError:
        os.ftruncate(handle, size)
        raise


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise AuditError(
            f"{path}: the audit log cannot be read or written ({problem.strerror or problem}); free some space or "
            "check permissions. Nothing that must be logged is done without its line"
        ) from problem

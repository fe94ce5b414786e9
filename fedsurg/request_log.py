"""A log of requests: one JSON line each, without bodies, in files that are rotated."""

import asyncio
import contextlib
import json
import logging
import logging.handlers
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path

from fedsurg.errors import JoiningError
from fedsurg.relay import Traffic

ROTATE_BYTES = 16 << 20  # some 80,000 lines: twenty sites for a day
KEEP = 9  # older files, so 160 MiB at most


@dataclass
class Entry:
    """One request. `why` is empty unless it was refused or failed."""

    site: str
    path: str
    status: int = 0
    bytes_in: int = 0  # body of the request
    bytes_out: int = 0  # body of the answer
    ms: int = 0
    reason: str = ""
    why: str = ""
    address: str = ""


@contextlib.contextmanager
def recorded(entry: Entry, traffic: Traffic, *takers: Callable[[Entry], None]) -> Iterator[None]:
    """Complete the entry of a request when it is over, and give it to all `takers`.

    Raises:
        ConnectionError, asyncio.CancelledError: as it came, when the connection broke off; the entry says so.
    """
    begun = time.monotonic()
    try:
        yield
    except (ConnectionError, asyncio.CancelledError) as problem:
        entry.status, entry.reason, entry.why = 499, "broken", str(problem) or "the connection broke off"
        raise
    finally:
        entry.bytes_in, entry.bytes_out = traffic.received, traffic.sent
        entry.ms = round(1000 * (time.monotonic() - begun))
        for take in takers:
            take(entry)


class RequestLog:
    """Appends to `path`; older lines are in `path`.1 to .9.

    Raises:
        JoiningError: the folder cannot be written.
    """

    def __init__(self, path: Path, rotate_bytes: int = ROTATE_BYTES) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._handler = _Quiet(path, maxBytes=rotate_bytes, backupCount=KEEP, encoding="utf-8")
        except OSError as problem:
            raise JoiningError(
                f"{path}: cannot be written ({problem.strerror}); free some space or check permissions"
            ) from problem

    def write(self, entry: Entry) -> None:
        """One line. A full disk loses lines here, and stops nothing."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": moment} | {key: value for key, value in asdict(entry).items() if value != ""})
        self._handler.emit(logging.makeLogRecord({"msg": line, "levelno": logging.INFO}))

    def close(self) -> None:
        """Close the file, whatever its last lines come to."""
        with contextlib.suppress(OSError):
            self._handler.close()


class _Quiet(logging.handlers.RotatingFileHandler):
    def _open(self) -> TextIOWrapper:
        """The file, and the next one after a rotation: readable by its owner alone."""
        file = super()._open()
        Path(self.baseFilename).chmod(0o600)
        return file

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (of the library)
        """Nothing: who writes a request log must not fail with it."""

"""What people are told: a line on standard error, and, where it matters for years, one in the audit log."""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fedsurg.audit.log import Event
from fedsurg.errors import AuditError
from fedsurg.joining.clock import now, stamp
from server.federation_file import coordinator_log

# Somebody is or claims to be who he is not, or was shut out. The rest is noise of networks and clocks.
MATTERS = frozenset({"expired", "foreign", "forged", "no certificate", "node", "replayed", "revoked"})
QUIET_SECONDS = 3600.0  # the same of the same site is told once in this time, with how often it was since


class Notices:
    """Tells of refusals.

    Args:
        folder: the coordinator's.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = coordinator_log(folder), clock
        self._told: dict[tuple[str, str], tuple[float, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def say(self, line: str) -> None:
        """One line on standard error, which the supervisor keeps."""
        sys.stderr.write(f"{stamp(now())} {line}\n")
        sys.stderr.flush()

    def refused(self, site: str, reason: str, why: str, address: str) -> None:
        """A request or connection was refused. Of a site that nobody knows, `site` is empty."""
        moment = self._clock()
        since, count = self._told.get((site, reason), (moment - QUIET_SECONDS, 0))
        if moment - since < QUIET_SECONDS:
            self._told[site, reason] = (since, count + 1)
            return
        self._told[site, reason] = (moment, 0)
        again = f" ({count} more in the hour before)" if count else ""
        self.say(f"refused ({reason}): {why}; from {address}{again}")
        if reason in MATTERS:
            facts = {"reason": reason, "site": site, "address": address, "before": count}
            task = asyncio.create_task(self._audit(Event("gateway refused", why=why, facts=facts)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for lines that are being written."""
        await asyncio.gather(*self._tasks)

    async def _audit(self, event: Event) -> None:
        try:
            await asyncio.to_thread(self._log.append, event, who="gateway")
        except AuditError as problem:
            self.say(str(problem))

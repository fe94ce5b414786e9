"""Which site a certificate stands for at this moment, by the coordinator's own files."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from fedsurg.errors import FedsurgError, JoiningError
from fedsurg.joining.certificates import fingerprint_of, serial_hex
from fedsurg.joining.clock import stamp
from fedsurg.relay import RefusedError
from server.gateway.door import Visitor, ended
from server.joining import retire_superseded
from server.members import Member, Members
from server.revocation import RevocationList


class Register:
    """Answers who is there, from the folder as it is now.

    Args:
        folder: the coordinator's.
        now: the time.
        failed: told when older certificates could not be retired.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime], failed: Callable[[FedsurgError], None]) -> None:
        self._folder, self._now, self._failed = folder, now, failed
        self._members, self._revoked = Members(folder), RevocationList(folder)
        self._settled: set[int] = set()

    async def member(self, visitor: Visitor) -> Member:
        """The member whose connection this is.

        1. Its certificate names a site, and has not ended since the handshake.
        2. The list of revoked certificates can be read, and it is not on it.
        3. This very certificate was issued to that site, which has a node key.
        4. If it is a newer one than before, the older ones are retired now: it is in use.

        Raises:
            RefusedError: the step that failed.
        """
        certificate, site = visitor.certificate, visitor.site
        # 1.
        if not site:
            raise RefusedError(401, "foreign", "the client's certificate names no site")
        if ended(certificate, self._now()):
            raise RefusedError(
                401,
                "expired",
                f"the certificate of {site} ended at {stamp(certificate.not_valid_after_utc)}; "
                "run fedsurg site renew in time, or be invited again",
            )
        # 2. and 3.
        try:
            revoked = self._revoked.is_revoked(certificate.serial_number)
            member = self._members.find(site)
        except JoiningError as problem:
            raise RefusedError(503, "folder", f"the coordinator cannot tell who is admitted: {problem}") from problem
        if revoked:
            raise RefusedError(401, "revoked", f"{site} was revoked by the coordinator; ask why, and for an invitation")
        issued = member.certificate(serial_hex(certificate)) if member else None
        if member is None or issued is None or issued.fingerprint != fingerprint_of(certificate):
            raise RefusedError(401, "foreign", f"a certificate that names {site}, but was not issued to it")
        if member.node_public_key is None:
            raise RefusedError(401, "foreign", f"{site} has no node key; it has to be admitted again")
        # 4.
        if issued.number not in self._settled:
            await self._retire_older(member, issued.number)
        return member

    def must_go(self, visitor: Visitor) -> bool:
        """An open connection has to be closed: revoked or expired. If nobody can tell, its requests are refused."""
        try:
            revoked = self._revoked.is_revoked(visitor.certificate.serial_number)
        except JoiningError:
            return False
        return revoked or ended(visitor.certificate, self._now())

    async def _retire_older(self, member: Member, number: int) -> None:
        """Once in this process for each certificate: what is on the list stays there."""
        self._settled.add(number)  # before the work, so that requests that come meanwhile do not begin it too
        if member.certificates[0].number == number:
            return
        try:
            await asyncio.to_thread(retire_superseded, self._folder, member.site, number, self._now())
        except FedsurgError as problem:
            self._settled.discard(number)  # with the next request it is tried again
            self._failed(problem)

"""Who is in the federation: one JSON file per site below `sites/`, so that no site's change touches another's.

A file says what was invited, which certificates were issued, and whether the site was revoked. Which certificates are
revoked is said by `crl.pem` alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from fedsurg.errors import JoiningError, UnreadableError
from fedsurg.files import write_atomic
from fedsurg.joining.clock import Moment
from fedsurg.joining.envelope import Strict, parse_model
from fedsurg.joining.invitation import Hex32, Hex64
from fedsurg.joining.names import SiteName, check_site_name
from fedsurg.joining.request import Serial
from server.layout import SITES

State = Literal["invited", "invitation expired", "admitted", "certificate expired", "revoked"]


class OpenInvitation(Strict):
    """An invitation that was not used yet."""

    id: Hex32
    token: Hex64
    created: Moment
    expires: Moment


class Issued(Strict):
    """A certificate that was issued to the site."""

    serial: Serial
    fingerprint: Hex64
    begins: Moment
    ends: Moment
    request: Hex64  # digest of the request that it answers
    certificate: str  # PEM
    node_public_key: str | None = None  # OpenSSH line, that the site had then; older files do not say it

    @property
    def number(self) -> int:
        """The serial number."""
        return int(self.serial, 16)


class Revocation(Strict):
    """When and why a person revoked the site."""

    at: Moment
    reason: str


class Member(Strict):
    """One site. Certificates are in the order of their issue; a site has one key for Flower at a time."""

    site: SiteName
    invitation: OpenInvitation | None = None
    node_public_key: str | None = None  # OpenSSH line; of an admitted site
    certificates: tuple[Issued, ...] = ()
    revoked: Revocation | None = None

    def certificate(self, serial: str) -> Issued | None:
        """The certificate of this serial number, if it was issued to this site."""
        return next((one for one in self.certificates if one.serial == serial), None)

    def state(self, now: datetime) -> State:
        """Where the site stands."""
        if self.invitation:
            return "invited" if now <= self.invitation.expires else "invitation expired"
        if self.revoked or not self.certificates:
            return "revoked"
        return "admitted" if now <= self.certificates[-1].ends else "certificate expired"


@dataclass(frozen=True)
class Members:
    """The files of all sites in a coordinator's folder."""

    folder: Path

    def path(self, site: str) -> Path:
        """The file of a site."""
        return self.folder / SITES / f"{check_site_name(site)}.json"

    def admission_path(self, site: str) -> Path:
        """Where the last admission of a site is kept, should the file that was handed on be lost."""
        return self.folder / SITES / f"{check_site_name(site)}.admission"

    def find(self, site: str) -> Member | None:
        """One site, or nothing if it was never invited.

        Raises:
            UnreadableError: its file is damaged.
        """
        path = self.path(site)
        if not path.exists():
            return None
        advice = "restore it from a backup"
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            raise UnreadableError(f"{path}: cannot be read; {advice}") from problem
        member = parse_model(text, Member, path, advice)
        if member.site != site:
            raise UnreadableError(f"{path}: says it is of {member.site}; {advice}")
        return member

    def names(self) -> list[str]:
        """Of all sites, sorted."""
        return sorted(path.stem for path in (self.folder / SITES).glob("*.json"))

    def all(self) -> Iterator[Member]:
        """All sites by name."""
        for name in self.names():
            if member := self.find(name):
                yield member

    def write(self, member: Member) -> None:
        """Replace the file of one site.

        Raises:
            JoiningError: it cannot be written; the old one is there.
        """
        write_atomic(self.path(member.site), member.model_dump_json(indent=2) + "\n", error=JoiningError)

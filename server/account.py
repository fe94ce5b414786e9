"""The account that a coordinator keeps of its rounds: audit log, signed heads, status."""

import hashlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509

from fedsurg.audit.heads import SignedHead, keep_head, sign_head
from fedsurg.audit.log import Event
from fedsurg.errors import AuditError, ContractError
from fedsurg.joining.certificates import certificate_pem, read_certificate
from fedsurg.joining.keys import read_private_key
from fedsurg.sharing.protocol import CERTIFICATE, Request, Scalar
from fedsurg.sharing.update import Packed, Update
from server.federation_file import coordinator_log
from server.layout import GATEWAY, LOG
from server.members import Members
from server.observer import Observer, Record
from server.runs import RunFolder

if TYPE_CHECKING:
    from fedsurg.study.config import Study

log = logging.getLogger("fedsurg.server")


class Account(Observer):
    """Of one run.

    Args:
        coordinator: folder of the coordinator.
        run: the run.
        study: resolved.

    Methods raise AuditError when a line cannot be written: what must be logged does not go on without its line.
    """

    def __init__(self, coordinator: Path, run: RunFolder, study: "Study") -> None:
        self._folder, self._run, self._members = coordinator, run, Members(coordinator)
        self._log = coordinator_log(coordinator)
        self._status = replace(run.status(), rounds=study.federation.rounds, quorum=study.quorum)
        self._came: dict[str, tuple[str, int]] = {}  # site -> hash and size of its reply in this round

    def say(self, what: str, why: str = "") -> None:
        """An event of the run as a whole."""
        self._log.append(Event(what, study=self._status.study, round=self._status.round, why=why))

    def asks(self, request: Request, sent: Update, sites: Collection[str]) -> Mapping[str, Scalar]:
        """Log what goes out to whom; the newest head of the log, signed, goes with it."""
        self._came = {}
        what = "round started" if request.work == "train" else "model delivered"
        self._append(what, request, sha256=_digest(sent.pack()), bytes=sent.vector.nbytes, facts={"sites": list(sites)})
        doing = {site: self._status.sites.get(site, {}) | {"doing": "asked"} for site in sites}
        away = {site: facts | {"doing": "away"} for site, facts in self._status.sites.items() if site not in doing}
        self._status = self._run.update(replace(self._status, state="running", sites=away | doing, refused={}, why=""))
        key = read_private_key(self._folder / GATEWAY)
        certificate = x509.load_pem_x509_certificates((self._folder / GATEWAY).read_bytes())[0]
        return sign_head(self._log, LOG, key).facts() | {CERTIFICATE: certificate_pem(certificate)}

    def answered(self, request: Request, site: str, packed: Packed, head: Mapping[str, object]) -> None:
        """Keep the head of the site's log; one that shows that it was rewritten makes the reply void."""
        self._came[site] = (_digest(packed), len(packed.data))
        if not head:
            raise ContractError("it came without a head of the site's audit log; the site runs another fedsurg")
        member = self._members.find(site)
        issued = member.certificates if member else ()
        try:
            certificates = [read_certificate(one.certificate, site) for one in issued]
            keep_head(self._log, SignedHead.from_facts(head), site, certificates)
        except AuditError as problem:
            raise ContractError(f"its audit head is not accepted: {problem}") from problem

    def accepted(self, request: Request, site: str) -> None:
        """Log a reply that was used."""
        sha256, size = self._came[site]
        self._append("reply accepted", request, sha256=sha256, bytes=size, facts={"site": site})
        self._note(site, doing="answered", round=request.round, at=datetime.now(UTC).isoformat(timespec="seconds"))

    def refused(self, request: Request, who: str, why: str) -> None:
        """Log one that was not, or that did not come."""
        sha256, size = self._came.get(who, ("", 0))
        self._append("reply refused", request, sha256=sha256, bytes=size, why=why, facts={"site": who})
        self._status = replace(self._status, refused=self._status.refused | {who: why})
        self._note(who, doing="refused")

    def finished(self, record: Record, shared: Update) -> None:
        """Log what was made of the replies."""
        sites = list(record["sites"])
        what = "replies averaged" if record["work"] == "train" else "study finished at the sites"
        event = Event(
            what,
            study=self._status.study,
            round=record["round"],
            sha256=_digest(shared.pack()),
            bytes=shared.vector.nbytes,
            facts={"sites": sites, "refused": list(record["refused"])},
        )
        self._log.append(event)
        answered = {
            site: self._status.sites.get(site, {})
            | {"seconds": round(sum(v for v in said["seconds"].values() if v), 3)}
            for site, said in record["sites"].items()
        }
        asked = len(sites) + len(record["refused"])
        self._status = self._run.update(
            replace(
                self._status,
                round=min(record["round"], self._status.rounds),
                sites=self._status.sites | answered,
                bytes_in=self._status.bytes_in + record["bytes_in"] * len(sites),
                bytes_out=self._status.bytes_out + record["bytes_out"] * asked,
            )
        )
        log.info("round %s: %s sites, %s refused", record["round"], len(sites), len(record["refused"]))

    def pauses(self) -> bool:
        """A person asked for a pause."""
        return self._run.pause_wanted

    def _note(self, site: str, **facts: Any) -> None:
        sites = self._status.sites | {site: self._status.sites.get(site, {}) | facts}
        self._status = self._run.update(replace(self._status, sites=sites))

    def _append(self, what: str, request: Request, **details: Any) -> None:
        self._log.append(Event(what, study=request.study, round=request.round, **details))


def _digest(packed: Packed) -> str:
    return hashlib.sha256(packed.data).hexdigest()

"""What the coordinator does with sites: make the federation, invite, admit, revoke, renew.

Each function holds the folder's lock, first writes its line to the audit log, and what takes effect last, or, in a
revocation, first: stopped at any point, the same command can be given again, and logs a second line. Without its line
nothing is changed.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from fedsurg.audit.log import Event, account
from fedsurg.errors import ForeignError, JoiningError, ReplayedError, RevokedError
from fedsurg.files import write_atomic
from fedsurg.joining.admission import Admission, admission_text
from fedsurg.joining.certificates import (
    certificate_facts,
    certificate_pem,
    fingerprint_of,
    newest_first,
    public_key,
    read_certificate,
    serial_hex,
)
from fedsurg.joining.clock import day, require_not_ended
from fedsurg.joining.envelope import SUFFIX
from fedsurg.joining.folders import require_free, staged_folder, write_new
from fedsurg.joining.invitation import TOKEN_BYTES, Invitation, invitation_text
from fedsurg.joining.keys import private_pem, public_bytes, require_same_fingerprint
from fedsurg.joining.names import check_host, check_site_name
from fedsurg.joining.request import SealedRequest, read_request, verify_request
from server.authority import Authority, gateway_pem, make_authority, read_authority
from server.federation_file import FederationFile, changing, coordinator_log
from server.layout import AUTHORITY, AUTHORITY_KEY, FEDERATION_FILE, GATEWAY, GATEWAY_CERTIFICATES, REVOKED, SITES
from server.members import Issued, Member, Members, OpenInvitation, Revocation
from server.revocation import SUPERSEDED, WITHDRAWN, RevocationList, add_revoked, empty_list


@dataclass(frozen=True)
class Admitted:
    """What `admit` did."""

    site: str
    renewal: bool
    request_fingerprint: str
    certificate: x509.Certificate
    out: Path


def make_federation(folder: Path, host: str, port: int, now: datetime) -> Authority:
    """A new federation in a new folder: authority, gateway's certificate, an empty list of revoked certificates.

    Raises:
        JoiningError: the folder holds something, or a value is not allowed.
    """
    settings = FederationFile(host=check_host(host), port=port)
    authority = make_authority(host, now)
    gateway, certificate = gateway_pem(authority, host, now, settings.validity.of("gateway"))
    with staged_folder(folder) as stage:
        for private in ("private", SITES):
            (stage / private).mkdir(mode=0o700)
        write_atomic(stage / AUTHORITY_KEY, private_pem(authority.key), error=JoiningError)
        write_atomic(stage / AUTHORITY, authority.pem, error=JoiningError)
        write_atomic(stage / GATEWAY, gateway, error=JoiningError)
        write_atomic(stage / GATEWAY_CERTIFICATES, certificate_pem(certificate), error=JoiningError)
        write_atomic(stage / REVOKED, empty_list(authority, now), error=JoiningError)
        write_atomic(stage / FEDERATION_FILE, settings.text(), error=JoiningError)
        facts = {"at": settings.address, "authority": authority.fingerprint} | certificate_facts(certificate)
        coordinator_log(stage).append(Event("federation made", facts=facts), who=account())
    return authority


def invite(folder: Path, site: str, out: Path, now: datetime, days: int | None = None) -> Invitation:
    """Write an invitation for a new site, or for one that was revoked or whose invitation has ended.

    Raises:
        JoiningError: the site is invited or admitted already, or `out` exists.
    """
    check_site_name(site)
    with changing(folder) as settings:
        authority, members = read_authority(folder), Members(folder)
        member = members.find(site) or Member(site=site)
        state = member.state(now)
        if state in ("invited", "admitted", "certificate expired"):
            raise JoiningError(
                f"{site}: {state} already; to invite it anew (a file or key was lost) run fedsurg server revoke {site}"
            )
        require_free(out)
        ends = now + (timedelta(days=days) if days else settings.validity.of("invitation"))
        token, number = secrets.token_hex(TOKEN_BYTES), secrets.token_hex(16)
        invitation = Invitation(
            id=number,
            site=site,
            host=settings.host,
            port=settings.port,
            authority=authority.pem,
            fingerprint=authority.fingerprint,
            token=token,
            created=now,
            expires=ends,
        )
        opened = OpenInvitation(id=number, token=token, created=now, expires=ends)
        log, facts = coordinator_log(folder), {"site": site, "invitation": number, "until": day(ends)}
        log.append(Event("site invited", facts=facts), who=account())
        members.write(member.model_copy(update={"invitation": opened}))
        try:
            write_new(out, invitation_text(invitation, authority.key))
        except JoiningError:
            _put_back(members, member)
            log.append(Event("invitation withdrawn", why="it could not be written", facts=facts), who=account())
            raise
    return invitation


def admit(folder: Path, path: Path, out: Path | None, now: datetime, fingerprint: str | None = None) -> Admitted:
    """Answer a request to join or to renew: check it, issue the certificate, write the admission.

    1. The file is a whole request of our version.
    2. It asks this federation.
    3. It was not answered before.
    4. Its site has the right it names: an open invitation, or a certificate in force.
    5. It was made by whoever has that right, and the private keys: `verify_request`.
    6. Its keys are no other's: the node key of a renewal is the site's own, all others are new.
    7. Its fingerprint is the one that a person was told, if one is given.

    Raises:
        JoiningError: by its subclass, the step that failed; nothing was changed. Or `out` could not be written: then
            the site is admitted, and the message names the copy that was kept.
    """
    with changing(folder) as settings:
        authority, members = read_authority(folder), Members(folder)
        # 1.
        request = read_request(path)
        body = request.body
        # 2.
        if body.federation != authority.fingerprint:
            raise ForeignError(
                f"{path}: asks another federation than the one in {folder}; give the right --dir or file"
            )
        # 3. to 5.
        member = _member_of(request, members)
        key = verify_request(request, _right_of(request, member, folder, now), now)
        # 6.
        _require_own_keys(request, member, members, public_bytes(key))
        # 7.
        if fingerprint is not None:
            require_same_fingerprint(fingerprint, body.digest, str(path))

        target = out or Path(f"{body.site}{SUFFIX['admission']}")
        require_free(target)
        certificate = authority.issue_site(key, body.site, now, settings.validity.of("site"))
        admission = Admission(
            site=body.site,
            request=body.digest,
            certificate=certificate_pem(certificate),
            authority=authority.pem,
            host=settings.host,
            port=settings.port,
            created=now,
            renew_from=max(now, certificate.not_valid_after_utc - settings.validity.of("renew_before")),
        )
        text = admission_text(admission, authority.key)
        what = "certificate renewed" if body.certificate else "site admitted"
        facts = {"site": body.site, "request": body.digest} | certificate_facts(certificate)
        coordinator_log(folder).append(Event(what, facts=facts), who=account())
        # Kept first, then the site's file, which makes it count, then the copy to hand on.
        kept = members.admission_path(body.site)
        write_atomic(kept, text, error=JoiningError)
        members.write(_admitted(member, request, certificate))
        try:
            write_new(target, text)
        except JoiningError as problem:
            raise JoiningError(f"{body.site} is admitted; hand on {kept}, as {problem}") from problem
    return Admitted(body.site, body.certificate is not None, body.digest, certificate, target)


def revoke(folder: Path, site: str, reason: str, now: datetime) -> Member:
    """Revoke all certificates of a site and withdraw its invitation, at once. Other sites' files are not touched.

    Raises:
        JoiningError: no such site, or nothing is left to revoke.
    """
    with changing(folder):
        authority, members = read_authority(folder), Members(folder)
        member = members.find(site)
        if member is None:
            raise JoiningError(f"{site}: no such site in {folder}; fedsurg server sites lists them")
        if member.revoked and member.invitation is None:
            raise JoiningError(f"{site}: revoked already at {day(member.revoked.at)}; nothing was changed")
        facts = {"site": site, "serials": [one.serial for one in member.certificates]}
        coordinator_log(folder).append(Event("site revoked", why=reason, facts=facts), who=account())
        # The list first: it is what the gateway asks.
        add_revoked(folder, authority, [one.number for one in member.certificates], WITHDRAWN, now)
        revoked = Revocation(at=now, reason=reason)
        member = member.model_copy(update={"invitation": None, "node_public_key": None, "revoked": revoked})
        members.write(member)
    return member


def retire_superseded(folder: Path, site: str, serial: int, now: datetime) -> None:
    """A renewed certificate is in use: the site's older ones go to the list. The gateway calls this when it sees one.

    Raises:
        JoiningError: the certificate was not issued to this site, or the list cannot be written.
    """
    with changing(folder):
        member = Members(folder).find(site)
        numbers = [one.number for one in member.certificates] if member else []
        if member is None or serial not in numbers:
            raise JoiningError(f"{site}: no certificate {serial:040x} was issued to it; nothing was retired")
        revoked = RevocationList(folder)
        older = [number for number in numbers[: numbers.index(serial)] if not revoked.is_revoked(number)]
        if older:
            event = Event("superseded", facts={"site": site, "serials": [f"{number:040x}" for number in older]})
            coordinator_log(folder).append(event, who="gateway")
            add_revoked(folder, read_authority(folder), older, SUPERSEDED, now)


def renew_gateway(folder: Path, now: datetime) -> x509.Certificate:
    """A new key and certificate for the gateway, for the host that `federation.toml` names now."""
    with changing(folder) as settings:
        authority = read_authority(folder)
        content, certificate = gateway_pem(authority, settings.host, now, settings.validity.of("gateway"))
        certificates = newest_first(folder / GATEWAY_CERTIFICATES, certificate)
        event = Event("gateway's certificate renewed", facts={"at": settings.address} | certificate_facts(certificate))
        coordinator_log(folder).append(event, who=account())
        write_atomic(folder / GATEWAY_CERTIFICATES, certificates, error=JoiningError)
        write_atomic(folder / GATEWAY, content, error=JoiningError)
    return certificate


def _member_of(request: SealedRequest, members: Members) -> Member:
    """The site of a request that was not answered before.

    Raises:
        ForeignError, ReplayedError: never invited; answered.
    """
    body, path = request.body, request.path
    member = members.find(body.site)
    if member is None:
        raise ForeignError(f"{path}: {body.site} was never invited here; run fedsurg server invite {body.site}")
    answered = next((one for one in member.certificates if one.request == body.digest), None)
    if answered:
        raise ReplayedError(
            f"{path}: answered already (certificate from {day(answered.begins)}); a request works once. If the "
            f"admission was lost, hand on {members.admission_path(body.site)}"
        )
    return member


def _right_of(request: SealedRequest, member: Member, folder: Path, now: datetime) -> str | ec.EllipticCurvePublicKey:
    """The token of the open invitation that a request names, or the key of the certificate in force that it names.

    Raises:
        ReplayedError, ForeignError, ExpiredError, RevokedError: there is none.
    """
    body, path = request.body, request.path
    if body.invitation:
        opened = member.invitation
        if opened is None or opened.id != body.invitation:
            raise ReplayedError(
                f"{path}: its invitation was used or withdrawn; an invitation works once. Invite {body.site} again "
                f"(fedsurg server revoke {body.site} first, if it is admitted)"
            )
        require_not_ended(
            f"{path}: the invitation of {body.site}",
            opened.expires,
            now,
            f"run fedsurg server invite {body.site} again",
        )
        return opened.token
    issued = member.certificate(body.certificate or "")
    if issued is None:
        raise ForeignError(
            f"{path}: renews a certificate that {body.site} never had; ask the hospital for the right file"
        )
    if RevocationList(folder).is_revoked(issued.number):
        raise RevokedError(
            f"{path}: renews a certificate that is revoked; ask the hospital for a request with the one in use, or run "
            f"fedsurg server invite {body.site}"
        )
    advice = f"run fedsurg server revoke {body.site} and fedsurg server invite {body.site}"
    require_not_ended(f"{path}: the certificate of {body.site} that it renews", issued.ends, now, advice)
    return public_key(read_certificate(issued.certificate, str(path)))


def _require_own_keys(request: SealedRequest, member: Member, members: Members, key: bytes) -> None:
    """A renewal keeps the node key; every other key is new: no site, this one included, has or had it.

    Raises:
        ForeignError: a key is another's.
    """
    body, path = request.body, request.path
    advice = "do not admit it, ask the hospital to enrol in an empty folder"
    if body.certificate and body.node_public_key != member.node_public_key:
        raise ForeignError(f"{path}: has another node key than {body.site} joined with; {advice}")
    for other in members.all():
        had = {other.node_public_key, *(issued.node_public_key for issued in other.certificates)}
        if body.node_public_key in had and not (body.certificate and other.site == body.site):
            raise ForeignError(f"{path}: has a node key that {other.site} has or had; {advice}")
        for issued in other.certificates:
            if public_bytes(public_key(read_certificate(issued.certificate, other.site))) == key:
                raise ForeignError(f"{path}: its key has a certificate already, of {other.site}; {advice}")


def _admitted(member: Member, request: SealedRequest, certificate: x509.Certificate) -> Member:
    """The site's file with the new certificate; the invitation and its token are gone."""
    issued = Issued(
        serial=serial_hex(certificate),
        fingerprint=fingerprint_of(certificate),
        begins=certificate.not_valid_before_utc,
        ends=certificate.not_valid_after_utc,
        request=request.body.digest,
        certificate=certificate_pem(certificate),
        node_public_key=request.body.node_public_key,
    )
    changes = {
        "invitation": None,
        "revoked": None,
        "node_public_key": request.body.node_public_key,
        "certificates": (*member.certificates, issued),
    }
    return member.model_copy(update=changes)


def _put_back(members: Members, member: Member) -> None:
    """The state before an invitation that could not be handed out."""
    if member == Member(site=member.site):
        members.path(member.site).unlink(missing_ok=True)
    else:
        members.write(member)

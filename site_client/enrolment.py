"""What a hospital does to join: answer an invitation, take the admission, renew its certificate later.

Private keys are made here, in the site's folder, and stay. What is written to be handed on holds public keys alone.
Each step is a line of the audit log before it is done; without the line nothing is changed.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from fedsurg.audit.log import Event, account
from fedsurg.errors import JoiningError, ReplayedError
from fedsurg.files import write_atomic
from fedsurg.joining.admission import TrustedAdmission, read_admission
from fedsurg.joining.certificates import certificate_facts, certificate_pem, newest_first, serial_hex
from fedsurg.joining.envelope import SUFFIX
from fedsurg.joining.folders import locked, require_free, require_owner_only, require_unused, staged_folder, write_new
from fedsurg.joining.invitation import Invitation, read_invitation
from fedsurg.joining.keys import (
    make_key,
    private_openssh,
    private_pem,
    read_private_key,
    require_same_fingerprint,
)
from fedsurg.joining.request import Request, SiteKeys, make_request, read_request, request_text
from site_client.layout import AUTHORITY, CERTIFICATES, FEDERATION_FILE, IDENTITY, NODE_KEY, PENDING, PENDING_KEY
from site_client.site_folder import Membership, read_identity, read_membership, site_log, write_membership


@dataclass(frozen=True)
class Asked:
    """A request that was written, and where to."""

    request: Request
    out: Path


def enrol(
    path: Path, folder: Path, data: Path, out: Path | None, now: datetime, fingerprint: str | None = None
) -> tuple[Invitation, Asked]:
    """Answer an invitation: make the site's folder with new keys, and a request.

    1. The invitation is whole, signed, and has not ended: `read_invitation`.
    2. Its authority has the fingerprint that a person was told, if one is given.
    3. The data folder is there; the site's folder and the request's file are not.

    Raises:
        JoiningError: by its subclass, the step that failed; nothing was written.
    """
    # 1.
    invitation = read_invitation(path, now)
    body = invitation.body
    # 2.
    if fingerprint is not None:
        require_same_fingerprint(fingerprint, body.fingerprint, f"{path}: the authority")
    # 3.
    require_unused(folder)
    if not data.is_dir():
        raise JoiningError(f"--data {data}: no such folder; give the one that holds site.toml and the manifest")
    target = out or Path(f"{body.site}{SUFFIX['request']}")
    require_free(target)

    keys = SiteKeys(make_key(), make_key())
    request = make_request(body.site, body.fingerprint, keys, now, invitation=body.id)
    text = request_text(request, keys, body.token)
    membership = Membership(
        site=body.site, data=str(data.absolute()), host=body.host, port=body.port, authority=body.fingerprint
    )
    with staged_folder(folder) as stage:
        (stage / "private").mkdir(mode=0o700)
        write_atomic(stage / PENDING_KEY, private_pem(keys.site), error=JoiningError)
        write_atomic(stage / NODE_KEY, private_openssh(keys.node), error=JoiningError)
        write_atomic(stage / AUTHORITY, certificate_pem(invitation.authority), error=JoiningError)
        write_atomic(stage / PENDING, text, error=JoiningError)
        write_atomic(stage / FEDERATION_FILE, membership.text(), error=JoiningError)
        facts = {"site": body.site, "at": membership.address, "authority": body.fingerprint, "request": request.digest}
        site_log(stage).append(Event("enrolled", facts=facts), who=account())
        write_new(target, text)
    return body, Asked(request, target)


def join(path: Path, folder: Path, now: datetime) -> TrustedAdmission:
    """Take the admission that answers the waiting request: from then on the site uses the new certificate.

    Stopped half-way, the same command can be given again.

    Raises:
        JoiningError: by its subclass, what `read_admission` found; or no request waits.
    """
    membership = read_membership(folder)
    with locked(folder):
        if not (folder / PENDING).exists():
            raise ReplayedError(
                f"{folder}: no request waits for an admission, {membership.site} has joined already; to change its "
                "certificate run fedsurg site renew"
            )
        request = read_request(folder / PENDING).body
        key = read_private_key(folder / PENDING_KEY)
        admission = read_admission(path, request, key.public_key(), now)
        facts = admission.body
        identity = private_pem(key) + facts.certificate.encode() + facts.authority.encode()
        certificates = newest_first(folder / CERTIFICATES, admission.certificate)
        what = "certificate renewed" if request.certificate else "federation joined"
        told = {"site": facts.site, "request": request.digest} | certificate_facts(admission.certificate)
        site_log(folder).append(Event(what, facts=told), who=account())
        write_atomic(folder / CERTIFICATES, certificates, error=JoiningError)
        write_atomic(folder / IDENTITY, identity, error=JoiningError)
        changes = {"host": facts.host, "port": facts.port, "renew_from": facts.renew_from}
        write_membership(folder, membership.model_copy(update=changes))
        (folder / PENDING).unlink()
        (folder / PENDING_KEY).unlink()
    return admission


def renew(folder: Path, out: Path | None, now: datetime) -> Asked:
    """Ask for a new certificate on a new key; the present one signs the request and stays in use until `join`.

    A request that still waits is replaced: its admission would no longer be taken.

    Raises:
        JoiningError: the site has not joined, its certificate has ended, or the file exists or cannot be written.
    """
    membership = read_membership(folder)
    with locked(folder):
        identity = read_identity(folder, membership.site, now)
        target = out or Path(f"{membership.site}{SUFFIX['request']}")
        require_free(target)
        keys = SiteKeys(make_key(), read_node_private_key(folder / NODE_KEY))
        serial = serial_hex(identity.certificate)
        request = make_request(membership.site, membership.authority, keys, now, certificate=serial)
        text = request_text(request, keys, identity.key)
        told = {"site": membership.site, "request": request.digest, "serial": serial}
        site_log(folder).append(Event("renewal asked for", facts=told), who=account())
        write_new(target, text)  # first: where it cannot be written, the request that waits is still good
        try:
            # Key first: a request without its key could not be joined with, a key without its request is replaced.
            (folder / PENDING).unlink(missing_ok=True)
            write_atomic(folder / PENDING_KEY, private_pem(keys.site), error=JoiningError)
            write_atomic(folder / PENDING, text, error=JoiningError)
        except (JoiningError, OSError) as problem:
            target.unlink(missing_ok=True)  # nobody could join with its admission
            raise JoiningError(
                f"{folder}: the request cannot be kept here ({problem}); one that waited is gone, ask again"
            ) from problem
    return Asked(request, target)


def read_node_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The private key of the site's Flower node.

    Raises:
        ExposedError: others may read it.
        JoiningError: it cannot be read, or is none of ours.
    """
    require_owner_only(path)
    try:
        key = load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as problem:
        raise JoiningError(f"{path}: the node's key cannot be read; restore it from a backup") from problem
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise JoiningError(f"{path}: not an EC key; restore it from a backup")
    return key

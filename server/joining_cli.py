"""`fedsurg server init, invite, admit, sites, revoke, renew`: who is in the federation."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedsurg.joining.wording import echo_fingerprint
from server.layout import DEFAULT_PORT
from server.options import in_folder

if TYPE_CHECKING:
    from datetime import datetime

    from server.members import Member
    from server.revocation import RevocationList


@click.command(epilog="Example: fedsurg server init --host fl.example.org --dir coordinator")
@click.option("--host", required=True, help="Name or address under which hospitals reach the gateway.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, help="The gateway's port."
)
@in_folder
def init(host: str, port: int, folder: Path) -> None:
    """Make a federation: its own certificate authority, the gateway's certificate, an empty list of sites.

    Exit code 0: made. 4: refused, nothing was written. 1: its audit log cannot be written. 2: a wrong option.
    """
    from fedsurg.joining.clock import now
    from fedsurg.joining.names import at
    from server.joining import make_federation
    from server.layout import AUTHORITY_KEY

    authority = make_federation(folder, host, port, now())
    click.echo(f"federation at {at(host, port)} made in {folder}")
    echo_fingerprint("authority, for hospitals to compare before they enrol", authority.fingerprint)
    click.echo(f"keep a copy of {folder} where no network reaches; whoever has {AUTHORITY_KEY} can admit sites")
    click.echo("next: fedsurg server invite NAME")


@click.command(epilog="Example: fedsurg server invite hospital-a --out hospital-a.invite --expires 7")
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="The invitation.  [default: NAME.invite]")
@click.option(
    "--expires",
    type=click.IntRange(1, 365),
    metavar="DAYS",
    help="Days until it ends.  [default: validity.invitation of federation.toml]",
)
@in_folder
def invite(name: str, out: Path | None, expires: int | None, folder: Path) -> None:
    """Write the invitation for one hospital. It is secret: whoever has it can ask to join as NAME, once.

    Exit code 0: written. 4: refused, or 1: the audit log cannot be written; nothing was changed. 2: a wrong option.
    """
    from fedsurg.joining.clock import day, now
    from fedsurg.joining.envelope import SUFFIX
    from server.joining import invite as make_invitation

    target = out or Path(f"{name}{SUFFIX['invitation']}")
    made = make_invitation(folder, name, target, now(), expires)
    click.echo(
        f"{target}: invitation of {name}, until {day(made.expires)}; send it by a channel that others cannot read"
    )
    echo_fingerprint("authority, read it to the hospital by phone", made.fingerprint)


@click.command(epilog="Example: fedsurg server admit hospital-a.request --out hospital-a.admission")
@click.argument("request", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The admission.  [default: NAME.admission]")
@click.option("--fingerprint", metavar="TEXT", help="What the hospital read out; another request is then refused.")
@in_folder
def admit(request: Path, out: Path | None, fingerprint: str | None, folder: Path) -> None:
    """Check a hospital's REQUEST, issue its certificate and write the admission. The admission is not secret.

    Exit code 0: written. 4: refused, or 1: the audit log cannot be written; nothing was changed. 2: a wrong option.
    If only --out cannot be written, the site is admitted, 4, and the message names a copy of the admission.
    """
    from fedsurg.joining.clock import day, now
    from server.joining import admit as answer

    done = answer(folder, request, out, now(), fingerprint)
    did = "renewed" if done.renewal else "admitted"
    ends = day(done.certificate.not_valid_after_utc)
    click.echo(f"{done.out}: {done.site} {did}, certificate until {ends}; send this file back")
    echo_fingerprint("request, the hospital sees the same", done.request_fingerprint)
    if fingerprint is None:
        click.echo(f"if the hospital reads out another one: fedsurg server revoke {done.site}")


@click.command(epilog="Example: fedsurg server sites --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@in_folder
def sites(as_json: bool, folder: Path) -> None:
    """Who is invited, admitted or revoked; certificates with dates and fingerprints.

    Exit code 0: listed. 4: the folder or a file in it cannot be used.
    """
    import json

    from fedsurg.joining.clock import now
    from server.authority import read_authority_certificate
    from server.federation_file import read_federation_file
    from server.members import Members
    from server.revocation import RevocationList

    settings, moment, revoked = read_federation_file(folder), now(), RevocationList(folder)
    found = [describe(member, revoked, moment) for member in Members(folder).all()]
    if as_json:
        from fedsurg.joining.certificates import fingerprint_of

        authority = fingerprint_of(read_authority_certificate(folder))
        click.echo(json.dumps({"address": settings.address, "authority": authority, "sites": found}, indent=2))
        return
    for site in found:
        print_site(site)
    if not found:
        click.echo("no sites yet; run fedsurg server invite NAME")


@click.command(epilog="Example: fedsurg server revoke hospital-a --reason 'laptop lost'")
@click.argument("name")
@click.option("--reason", default="", metavar="TEXT", help="Kept in the site's file.")
@in_folder
def revoke(name: str, reason: str, folder: Path) -> None:
    """Shut hospital NAME out, at once: its certificates and its invitation are void. No other site is touched.

    A running federation goes on without it from this moment; a reply of it that is under way is not used.

    Exit code 0: revoked. 4: no such site, or nothing left to revoke. 1: the audit log cannot be written; not revoked.
    """
    from fedsurg.joining.clock import now
    from fedsurg.supervision import supervisor_of
    from server.joining import revoke as shut_out
    from server.layout import RUN

    member = shut_out(folder, name, reason, now())
    if supervisor_of(folder / RUN) is not None:
        _shut_out_node(folder)
    count = len(member.certificates)
    click.echo(f"{name} revoked: {count} certificate{'s' * (count != 1)} on the list, no open invitation")
    click.echo(f"to take it back with new keys: fedsurg server invite {name}")


def _shut_out_node(folder: Path) -> None:
    """Its node, too, at the SuperLink. If that does not answer, the run keeper does it; nobody gets in meanwhile."""
    from server.control import Control, ControlError
    from server.federation_file import read_federation_file
    from server.keeper import keep_nodes

    try:
        with Control(read_federation_file(folder).ports.superlink) as control:
            keep_nodes(folder, control, control.nodes())
    except ControlError as problem:
        click.echo(f"note: {problem}", err=True)


@click.command(epilog="Example: fedsurg server renew --dir coordinator")
@in_folder
def renew(folder: Path) -> None:
    """Give the gateway a new key and certificate, for the host in federation.toml. Hospitals need to do nothing.

    To renew a hospital's certificate, the hospital runs fedsurg site renew; admit answers its request.

    Exit code 0: renewed. 4: the folder or a file in it cannot be used; the old certificate is still there.
    1: likewise, the audit log cannot be written.
    """
    from fedsurg.joining.certificates import fingerprint_of
    from fedsurg.joining.clock import day, now
    from server.joining import renew_gateway

    certificate = renew_gateway(folder, now())
    click.echo(
        f"gateway's certificate renewed, until {day(certificate.not_valid_after_utc)}; a running one takes it up"
    )
    echo_fingerprint("gateway", fingerprint_of(certificate))


def describe(member: "Member", revoked: "RevocationList", now: "datetime") -> dict[str, Any]:
    """One site as `--json` prints it; without its token."""
    from fedsurg.joining.clock import stamp

    certificates = [
        {
            "serial": issued.serial,
            "fingerprint": issued.fingerprint,
            "begins": stamp(issued.begins),
            "ends": stamp(issued.ends),
            "state": "revoked" if revoked.is_revoked(issued.number) else "expired" if now > issued.ends else "valid",
        }
        for issued in member.certificates
    ]
    return {
        "site": member.site,
        "state": member.state(now),
        "invitation_expires": stamp(member.invitation.expires) if member.invitation else None,
        "node_public_key": member.node_public_key,
        "certificates": certificates,
        "revoked": {"at": stamp(member.revoked.at), "reason": member.revoked.reason} if member.revoked else None,
    }


def print_site(site: dict[str, Any]) -> None:
    """One site in a few lines."""
    from fedsurg.joining.keys import grouped

    click.echo(f"{site['site']}: {site['state']}")
    if site["invitation_expires"]:
        click.echo(f"    invitation until {site['invitation_expires'][:10]}")
    for one in site["certificates"]:
        click.echo(
            f"    certificate {one['state']}, {one['begins'][:10]} to {one['ends'][:10]}, serial {one['serial']}"
        )
        click.echo(f"        {grouped(one['fingerprint'])}")
    if site["revoked"]:
        reason = site["revoked"]["reason"]
        click.echo(f"    revoked at {site['revoked']['at'][:10]}{': ' * bool(reason)}{reason}")

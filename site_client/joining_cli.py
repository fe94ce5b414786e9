"""`fedsurg site enrol, join, renew`: how a hospital gets into a federation, and stays."""

from pathlib import Path

import click

from fedsurg.joining.wording import echo_fingerprint
from site_client.options import in_folder


@click.command(epilog="Example: fedsurg site enrol hospital-a.invite --data /data/or-videos --dir site")
@click.argument("invitation", type=click.Path(path_type=Path))
@click.option("--data", required=True, type=click.Path(path_type=Path), help="The folder of the site's data.")
@click.option("--out", type=click.Path(path_type=Path), help="The request.  [default: NAME.request]")
@click.option(
    "--fingerprint", metavar="TEXT", help="What the coordinator read out; another invitation is then refused."
)
@in_folder
def enrol(invitation: Path, data: Path, out: Path | None, fingerprint: str | None, folder: Path) -> None:
    """Answer an INVITATION: make the site's folder and keys here, and write the request. The request is not secret.

    Exit code 0: written. 4: refused, or 1: the audit log cannot be written; nothing was written. 2: a wrong option.
    """
    from fedsurg.joining.clock import now
    from fedsurg.joining.names import at
    from site_client.enrolment import enrol as answer

    body, asked = answer(invitation, folder, data, out, now(), fingerprint)
    click.echo(f"{body.site} in the federation at {at(body.host, body.port)}; keys made in {folder}, they stay there")
    echo_fingerprint("authority, compare it with the coordinator by phone", body.fingerprint)
    click.echo(f"{asked.out}: the request, send it to the coordinator")
    echo_fingerprint("request, read it to the coordinator", asked.request.digest)
    click.echo(f"if the authority's fingerprint is another one: remove {folder} and {asked.out}, send nothing")


@click.command(epilog="Example: fedsurg site join hospital-a.admission")
@click.argument("admission", type=click.Path(path_type=Path))
@in_folder
def join(admission: Path, folder: Path) -> None:
    """Take the coordinator's ADMISSION, the answer to the newest request of this site.

    Exit code 0: joined, or the certificate was renewed. 4: refused, or 1: the audit log cannot be written; nothing was
    changed.
    """
    from fedsurg.joining.certificates import fingerprint_of
    from fedsurg.joining.clock import day, now
    from fedsurg.joining.names import at
    from site_client.enrolment import join as take

    taken = take(admission, folder, now())
    facts, ends = taken.body, day(taken.certificate.not_valid_after_utc)
    click.echo(f"{facts.site} joined the federation at {at(facts.host, facts.port)}")
    click.echo(f"certificate until {ends}; from {day(facts.renew_from)} on run fedsurg site renew")
    echo_fingerprint("certificate", fingerprint_of(taken.certificate))


@click.command(epilog="Example: fedsurg site renew --dir site")
@click.option("--out", type=click.Path(path_type=Path), help="The request.  [default: NAME.request]")
@in_folder
def renew(out: Path | None, folder: Path) -> None:
    """Ask for a new certificate on a new key. The present one stays in use until the new one is joined with.

    Exit code 0: written. 4: refused, or 1: the audit log cannot be written; nothing was changed. After the
    certificate's end the coordinator invites again.
    """
    from fedsurg.joining.clock import now
    from site_client.enrolment import renew as ask

    asked = ask(folder, out, now())
    click.echo(f"{asked.out}: the request, send it to the coordinator; then run fedsurg site join with the answer")
    echo_fingerprint("request, the coordinator sees the same", asked.request.digest)

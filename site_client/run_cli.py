"""`fedsurg site start, stop, status`: the processes of a hospital."""

import time
from pathlib import Path

import click

from site_client.options import in_folder


@click.command(epilog="Example: fedsurg site start --dir site")
@in_folder
def start(folder: Path) -> None:
    """Take part: keep worker, connection and Flower's node running until Ctrl-C, SIGTERM or fedsurg site stop.

    What ends is started again. Nothing is done for a study that is not approved.

    Exit code 0: stopped. 1: vault or audit log cannot be used. 4: not joined, a certificate has ended, others may read
    the folder. 5: policy or an approval cannot be read. 6: it runs already, or cannot be started.
    """
    from site_client.start import start_site

    start_site(folder, lambda line: click.echo(f"{time.strftime('%H:%M:%S')}  {line}"))


@click.command(epilog="Example: fedsurg site stop --dir site")
@in_folder
def stop(folder: Path) -> None:
    """Stop what fedsurg site start runs; a round that is under way is given up, and asked for again.

    Exit code 0: stopped, or nothing ran. 4: not a site's folder. 6: it does not end, or is another account's.
    """
    from fedsurg.supervision import stop as stop_supervisor
    from site_client.layout import RUN
    from site_client.site_folder import read_membership

    name = read_membership(folder).site
    click.echo(f"{name}: {'stopped' if stop_supervisor(folder / RUN) else 'did not run'}")


@click.command(epilog="Example: fedsurg site status --dir site --json")
@in_folder
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(folder: Path, as_json: bool) -> int:
    """How the site is: processes, studies, what the worker does just now, bytes that left, the newest audit line.

    Exit code 0: all processes run. 1: they do not, or the audit log cannot be read. 4: not a site's folder. 5:
    policy or an approval cannot be read.
    """
    import json

    from fedsurg.supervision import all_run
    from site_client.status import site_status
    from site_client.status_text import status_lines

    facts = site_status(folder)
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(status_lines(facts)))
    return int(not all_run(facts))

"""`fedsurg server start, run, status, pause, stop`: the coordinator's processes and runs."""

import time
from pathlib import Path

import click

from server.options import in_folder


@click.command(epilog="Example: fedsurg server start --dir coordinator")
@in_folder
def start(folder: Path) -> None:
    """Keep SuperLink, superexec, gateway and run keeper running until Ctrl-C, SIGTERM or fedsurg server stop.

    What ends is started again; runs that were going on go on from their last finished round.

    Exit code 0: stopped. 4: not a coordinator's folder, or others may read it. 6: it runs already, a port is taken, or
    it cannot be started.
    """
    from server.start import start_server

    start_server(folder, lambda line: click.echo(f"{time.strftime('%H:%M:%S')}  {line}"))


@click.command(epilog="Example: fedsurg server run study.toml --detach")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--method", help="Method to run; default: the study's first one.")
@click.option("--device", default="auto", show_default=True, help="What the server learns on: auto, cpu, cuda:0, ...")
@click.option("--detach", is_flag=True, help="Set it going and return; fedsurg server status shows how far it is.")
@click.option("--json", "as_json", is_flag=True, help="Print finished rounds and the last status as JSON lines.")
@in_folder
def run(study: Path, method: str | None, device: str, detach: bool, as_json: bool, folder: Path) -> int:
    """Run STUDY with the admitted sites, or resume it after anything; follow its rounds.

    The same command goes on after a pause, a failure or a crash. Ctrl-C stops the following, not the run.

    Exit code 0: finished, paused, or set going with --detach. 1: the run failed, with its reason, or the audit log
    cannot be written. 2: a wrong option or study. 4: a site of it is not admitted. 6: fedsurg server start does not
    run. 130: Ctrl-C.
    """
    from rich.console import Console

    from fedsurg.errors import FederationError, InterruptedRunError
    from fedsurg.supervision import supervisor_of
    from server.follow import Display, follow, last_line
    from server.launch import launch
    from server.layout import RUN

    with Display(Console(), as_json) as display:
        try:
            going = launch(folder, study, method, device, display.advance, display.say)
            if detach:
                status = going.status()
            else:
                status = follow(going, display, lambda: supervisor_of(folder / RUN) is not None)
        except KeyboardInterrupt:
            raise InterruptedRunError(
                "no longer followed; a run that was begun goes on. fedsurg server status shows it, fedsurg server "
                "pause holds it"
            ) from None
    if status.state == "failed":
        raise FederationError(f"{status.name}: failed after round {status.round}: {status.why}")
    if not detach or as_json:
        click.echo(last_line(going, status, as_json))
    return 0


@click.command(epilog="Example: fedsurg server status --dir coordinator --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@in_folder
def status(as_json: bool, folder: Path) -> int:
    """How the coordinator is: processes, sites with when they were last seen, runs with rounds and refusals.

    Exit code 0: all processes run. 1: they do not. 4: not a coordinator's folder.
    """
    import json

    from fedsurg.joining.clock import now
    from fedsurg.supervision import all_run
    from server.status import server_status, status_lines

    facts = server_status(folder, now())
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(status_lines(facts)))
    return int(not all_run(facts))


@click.command(epilog="Example: fedsurg server pause five-sites")
@click.argument("study")
@in_folder
def pause(study: str, folder: Path) -> None:
    """Hold the run of STUDY (its name, 8 or more characters of its digest, or its file) after the present round.

    fedsurg server run with the same study goes on.

    Exit code 0: it will be held, or is. 1: no such run, it is finished or failed, or the audit log cannot be
    written. 4: not a coordinator's folder.
    """
    from fedsurg.audit.log import Event, account
    from fedsurg.errors import RunError
    from server.federation_file import coordinator_log, read_federation_file
    from server.runs import GOING, find_run

    read_federation_file(folder)
    found = find_run(folder, study)
    status = found.status()
    if status.state in GOING:
        event = Event("pause asked for", study=status.study, facts={"name": status.name})
        coordinator_log(folder).append(event, who=account())
        found.want_pause()
        click.echo(f"{status.name}: will be held after the present round")
    elif status.state == "paused":
        click.echo(f"{status.name}: is paused")
    else:
        raise RunError(f"{status.name}: is {status.state}, so there is nothing to hold")


@click.command(epilog="Example: fedsurg server stop --dir coordinator")
@in_folder
def stop(folder: Path) -> None:
    """Stop what fedsurg server start runs. Runs go on with the next start, from their last finished round.

    Exit code 0: stopped, or nothing ran. 4: not a coordinator's folder. 6: it does not end, or is another account's.
    """
    from fedsurg.supervision import stop as stop_supervisor
    from server.federation_file import read_federation_file
    from server.layout import RUN

    read_federation_file(folder)
    click.echo("stopped" if stop_supervisor(folder / RUN) else "did not run")


@click.command(epilog="Example: fedsurg server keeper --dir coordinator")
@in_folder
def keeper(folder: Path) -> None:
    """Register admitted sites at the SuperLink and keep runs going. fedsurg server start runs this.

    Exit code 0: ended. 4: not a coordinator's folder.
    """
    import logging

    from server.keeper import keep

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("fedsurg").setLevel(logging.INFO)
    keep(folder)

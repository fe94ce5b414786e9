"""`fedsurg server start`: the coordinator's processes, kept running.

superlink   flower-superlink: nodes, messages, runs; listens on 127.0.0.1
keeper      fedsurg server keeper: members become nodes, runs that should go on do
superexec   flower-superexec: starts the process that does a run's rounds
gateway     fedsurg server gateway: mutual TLS for hospitals; the one public port
"""

import sys
from collections.abc import Callable
from pathlib import Path

from fedsurg.errors import SupervisionError
from fedsurg.joining.folders import require_owner_only
from fedsurg.report.wording import plural
from fedsurg.supervision import Child, Supervisor, await_leftovers, port_open, require_free_port, supervisor_of
from server.authority import read_authority_certificate
from server.federation_file import FederationFile, read_federation_file
from server.layout import FEDERATION_FILE, RUN
from server.members import Members
from server.runs import GOING, statuses
from server.superlink import environment, superexec, superlink

Say = Callable[[str], None]


def start_server(folder: Path, say: Say) -> None:
    """Run until Ctrl-C, SIGTERM or `stop`.

    Args:
        folder: of the coordinator.
        say: takes a line for the person.

    Raises:
        JoiningError: not a coordinator's folder, or others may enter it.
        SupervisionError: it runs already, a port is taken, or the folder cannot be written.
    """
    settings, run = read_federation_file(folder), folder / RUN
    require_owner_only(folder)
    read_authority_certificate(folder)
    running = supervisor_of(run)
    if running:
        raise SupervisionError(f"{folder}: runs already (process {running}); fedsurg server status shows how")
    await_leftovers(run)
    advice = f"see {folder / FEDERATION_FILE}"
    require_free_port(settings.port, f"the gateway ({advice}, port)", settings.gateway.listen or "0.0.0.0")
    require_free_port(settings.ports.superlink, f"the SuperLink ({advice}, ports.superlink)")
    require_free_port(settings.ports.metrics, f"metrics ({advice}, ports.metrics)")
    children = children_of(folder, settings)
    say(f"starting {', '.join(child.name for child in children)}; logs in {run / 'logs'}")

    def all_up() -> None:
        sites = sum(bool(member.node_public_key) for member in Members(folder).all())
        going = [status.name for status in statuses(folder) if status.state in GOING]
        say(f"all run: gateway at {settings.address}, {plural(sites, 'site')} admitted; Ctrl-C stops")
        say(f"goes on with {', '.join(going)}" if going else "next: fedsurg server run STUDY.toml, in another terminal")

    Supervisor(run, children, say, all_up).run()
    say("stopped; runs go on with the next start")


def children_of(folder: Path, settings: FederationFile) -> list[Child]:
    """The processes in the order of their start.

    Raises:
        SupervisionError: Flower's programs are not installed, or the folder cannot be written.
    """
    folder = folder.absolute()
    run, port = folder / RUN, settings.ports.superlink
    return [
        superlink(run, port),
        Child("keeper", _fedsurg("keeper", folder), env=environment(run)),
        superexec(run, port, folder),
        Child("gateway", _fedsurg("gateway", folder), ready=port_open(settings.ports.metrics), hopeless=frozenset({4})),
    ]


def _fedsurg(command: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "fedsurg", "server", command, "--dir", str(folder)]

"""What runs at a hospital: four processes, each with its own log, started again when they end.

worker      fedsurg site worker: data, model, private state and policy; a Unix socket
connection  fedsurg site connection: mutual TLS to the gateway; listens on 127.0.0.1
node        Flower's SuperNode: asks for messages, through the connection; listens on 127.0.0.1
executor    Flower's superexec: forks a short process for each message, which calls the worker
"""

import contextlib
import json
import secrets
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedsurg.errors import SupervisionError
from fedsurg.files import write_atomic
from fedsurg.flower_programs import LOOPBACK_ONLY, flower_environment
from fedsurg.supervision import Child, port_open
from site_client.bundle import SOCKET
from site_client.layout import CONNECTION, NODE_KEY, RUN, WORKER_SOCKET
from site_client.loopback import HOST, make_loopback

SECRET = "superexec.secret"  # between node and executor: others on this machine cannot ask for messages
SECRET_BYTES = 32

# A node whose process was killed is taken for alive for a minute, and a second one is sent away so long.
NODE_PAUSE_S, NODE_LONGEST_PAUSE_S = 10.0, 30.0
READY_S = 120.0  # on a machine that is busy with something else; an idle one needs some seconds
LOOK_S = 0.5
POLL_S = "0.25"  # between two looks of the executor for a message

# Of the executor, which forks: numpy must begin no threads, and the path of its socket has to be short.
FORKING = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TMPDIR": "/tmp"}  # in a folder of its own there


@dataclass(frozen=True)
class Ports:
    """Of 127.0.0.1, free ones at each start: nobody has to choose or open them."""

    connection: int
    node: int


def free_ports() -> Ports:
    """Ports that nobody uses just now."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(2)]
        return Ports(*(one.getsockname()[1] for one in taken))


def children_of(folder: Path, ports: Ports) -> list[Child]:
    """The processes in the order of their start; what they need for each other is made in `run`.

    Raises:
        FedsurgError: `run` cannot be written.
    """
    folder = folder.absolute()
    run = folder / RUN
    loopback = make_loopback(run)
    write_atomic(run / SECRET, secrets.token_bytes(SECRET_BYTES), error=SupervisionError)
    flower = flower_environment(run / "flwr") | {
        SOCKET: str(folder / WORKER_SOCKET),
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": POLL_S,
    }
    secret = ("--superexec-auth-secret-file", str(run / SECRET))
    return [
        Child(
            "worker",
            (*_fedsurg("worker", folder),),
            env=LOOPBACK_ONLY,
            ready=socket_open(folder / WORKER_SOCKET),
            ready_s=READY_S,
        ),
        Child(
            "connection",
            (*_fedsurg("connection", folder), "--port", str(ports.connection)),
            ready=port_open(ports.connection),
            ready_s=READY_S,
        ),
        Child(
            "node",
            (
                *(sys.executable, "-m", "site_client.node", "--superlink", f"{HOST}:{ports.connection}"),
                *("--root-certificates", str(loopback.root)),
                *("--auth-supernode-private-key", str(folder / NODE_KEY)),
                *("--isolation", "process", *secret, "--host", HOST, "--port", str(ports.node)),
            ),
            env=flower,
            ready=port_open(ports.node),
            ready_s=READY_S,
            first_pause_s=NODE_PAUSE_S,
            longest_pause_s=NODE_LONGEST_PAUSE_S,
            why=lambda: said_by_connection(folder),
        ),
        Child(
            "executor",
            (
                *(sys.executable, "-m", "site_client.executor"),
                "--insecure",
                "--runtime-api-address",
                f"{HOST}:{ports.node}",
                *secret,
            ),
            env=flower | FORKING,
        ),
    ]


def socket_open(path: Path) -> Callable[[], bool]:
    """Someone listens on the Unix socket; a file that a killed process left does not count."""

    def ready() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(LOOK_S)
            try:
                probe.connect(str(path))
            except OSError:
                return False
            return True

    return ready


def said_by_connection(folder: Path) -> str:
    """What stands in its way just now; empty: nothing, or nobody asked yet."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads((folder / CONNECTION).read_text("utf-8"))
        return f"the connection says: {said['why']}" if said["state"] == "refused" else ""
    return ""


def _fedsurg(command: str, folder: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "fedsurg", "site", command, "--dir", str(folder))

"""Flower's processes at the coordinator: SuperLink and superexec, on loopback, with a home of their own.

Nothing here imports Flower: the commands are started as they are.
"""

import secrets
from pathlib import Path

from fedsurg.errors import SupervisionError
from fedsurg.files import write_atomic
from fedsurg.flower_programs import flower_environment, flower_program
from fedsurg.supervision import Child, port_open

LOOPBACK = "127.0.0.1"
COORDINATOR = "FEDSURG_COORDINATOR"  # environment of the ServerApp: the coordinator's folder
DATABASE, SECRET, HOME = "superlink.db", "superexec.secret", "flwr"
POLL_S = "0.5"  # between two looks of superexec for a run that is to start

# Flower's older gRPC listeners would be on all addresses; they are off unless these say otherwise.
_OFF = ("FLWR_INTERNAL_GRPC_FLEET_API", "FLWR_INTERNAL_GRPC_CONTROL_API")


def superlink(run: Path, port: int) -> Child:
    """The SuperLink; everything it keeps is in its database, so it can be killed and started again."""
    return Child(
        "superlink",
        [
            flower_program("flower-superlink"),
            *("--insecure", "--host", LOOPBACK, "--port", str(port)),
            *("--isolation", "process", "--database", str(run / DATABASE)),
            *("--superexec-auth-secret-file", str(secret(run))),
            "--disable-runtime-dependency-installation",
        ],
        env=environment(run) | {"FLWR_LOG_LEVEL": "WARNING"},  # else a line for every look of every process
        ready=port_open(port),
        ready_s=120.0,
        longest_pause_s=10.0,
    )


def superexec(run: Path, port: int, coordinator: Path) -> Child:
    """Superexec: starts a ServerApp for every Flower run, which dies with it."""
    return Child(
        "superexec",
        [
            flower_program("flower-superexec"),
            *("--insecure", "--runtime-api-address", f"{LOOPBACK}:{port}"),
            *("--superexec-auth-secret-file", str(secret(run))),
        ],
        env=environment(run) | {COORDINATOR: str(coordinator.resolve()), "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": POLL_S},
        longest_pause_s=10.0,
    )


def environment(run: Path) -> dict[str, str]:
    """Of all processes at the coordinator that use Flower."""
    return flower_environment(run / HOME) | dict.fromkeys(_OFF, "0")


def secret(run: Path) -> Path:
    """File of the secret that SuperLink and superexec share, made once."""
    path = run / SECRET
    if not path.exists():
        run.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(path, secrets.token_hex(32), error=SupervisionError)
    return path

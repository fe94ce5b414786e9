"""The worker's process: one per site, on a Unix socket that only its own account may use."""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from fedsurg.errors import SupervisionError
from fedsurg.files import try_lock
from fedsurg.joining.folders import require_owner_only
from site_client.bundle.worker_pb2 import DESCRIPTOR
from site_client.bundle.worker_pb2_grpc import add_SiteWorkerServicer_to_server
from site_client.layout import MAX_SOCKET_PATH, PROGRESS, RUN, VAULT, WORKER_SOCKET
from site_client.policy import read_policy
from site_client.site_folder import read_identity, read_membership, site_log
from site_client.vault import open_vault
from site_client.vault_key import Secret
from site_client.worker.desk import WAITING, Answer, Desk
from site_client.worker.progress import IDLE, STARTING, STOPPED, Board
from site_client.worker.service import Service

LOCK = "worker.lock"  # in RUN
THREADS = WAITING + 6  # of gRPC: the work that is taken leaves enough for health, status and cancel
SERVICE = DESCRIPTOR.services_by_name["SiteWorker"].full_name


@dataclass(frozen=True)
class Setup:
    """What the command line decides.

    Args:
        secret: opens the vault; none: what the vault itself remembers.
        device: to train on.
        threads: of torch; 0: torch's own choice.
    """

    secret: Secret | None = None
    device: str = "auto"
    threads: int = 0


def run_worker(folder: Path, setup: Setup, say: Callable[[str], None], wait: Callable[[], object]) -> None:
    """Answer requests until `wait` returns.

    1. The site has joined, its policy and its vault open; no other worker runs.
    2. All that takes seconds is loaded, so that the first request finds it warm.
    3. Only then the socket is there.

    Raises:
        FedsurgError: one of them is not so.
    """
    # 1.
    folder = folder.absolute()
    membership = read_membership(folder)
    read_identity(folder, membership.site, datetime.now(UTC))
    read_policy(folder)
    audit = site_log(folder)
    vault = open_vault(folder / VAULT, audit, setup.secret)
    with only_one(folder / RUN):
        board = Board(folder / PROGRESS)
        board.state(STARTING)
        # 2.
        from site_client.worker.answering import Answering
        from site_client.worker.warm import warm

        engines = warm(folder, vault, setup.device, setup.threads)
        # 3.
        answering = Answering(folder, audit, engines)
        with serving(folder, membership.site, answering, board, answering.policy.refuse):
            say(f"{membership.site}: ready at {folder / WORKER_SOCKET}")
            wait()
        say(f"{membership.site}: stopped")


@contextlib.contextmanager
def serving(folder: Path, site: str, answer: Answer, board: Board, refused: Callable[[str], None]) -> Iterator[Desk]:
    """The service at the site's socket, while the block runs; `refused` is told of requests that are not even taken."""
    desk = Desk(answer, board)
    server = grpc.server(ThreadPoolExecutor(THREADS), maximum_concurrent_rpcs=2 * THREADS)
    health = HealthServicer()
    service = Service(site, desk, board, lambda: read_policy(folder).max_update_bytes, refused)
    add_SiteWorkerServicer_to_server(service, server)
    add_HealthServicer_to_server(health, server)
    _bind(server, folder / WORKER_SOCKET)
    server.start()
    for name in ("", SERVICE):
        health.set(name, HealthCheckResponse.SERVING)
    board.state(IDLE)
    try:
        yield desk
    finally:
        health.enter_graceful_shutdown()
        server.stop(None).wait()  # calls break off, so their askers ask again when a worker is back
        desk.close()
        board.state(STOPPED)


@contextlib.contextmanager
def only_one(run: Path) -> Iterator[None]:
    """The only worker in this folder; the lock goes with its holder, however it ends.

    Raises:
        SupervisionError: another one runs, or the folder cannot be written.
        ExposedError: others may enter the folder.
    """
    try:
        run.mkdir(mode=0o700, exist_ok=True)
        require_owner_only(run)
        handle = os.open(run / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as problem:
        raise SupervisionError(f"{run}: cannot be written ({problem.strerror}); check space and owner") from problem
    try:
        if not try_lock(handle):
            raise SupervisionError(f"{run.parent}: a worker runs here already; fedsurg site status shows it")
        yield
    finally:
        os.close(handle)


def _bind(server: grpc.Server, path: Path) -> None:
    """Listen, for this account alone.

    Raises:
        SupervisionError: the path is too long, or the socket cannot be made.
    """
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH:
        raise SupervisionError(
            f"{path}: has {length} bytes, a socket's path {MAX_SOCKET_PATH} at most; move the site's folder to a "
            "shorter path"
        )
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as problem:
        raise SupervisionError(f"{path}: cannot be listened at; check space and owner of its folder") from problem
    finally:
        os.umask(before)

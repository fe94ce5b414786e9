"""A hospital that has joined and approved the tiny study, its worker at a real socket, and Flower's side of it."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flwr.app import Message

from fedsurg.audit import AuditLog, sign_head
from fedsurg.joining.certificates import certificate_pem
from fedsurg.methods.facts import facts_of
from fedsurg.models.network import network_of
from fedsurg.models.start_file import write_start
from fedsurg.sharing.protocol import CERTIFICATE, Request
from fedsurg.sharing.update import Update
from fedsurg.study import Study
from fedsurg.study.digest import study_digest
from server.authority import Authority, gateway_pem, read_authority
from server.joining import admit, invite, make_federation
from server.records import Outgoing
from simulations.inline import InlineGrid
from site_client.approvals import Approvals
from site_client.bundle import SOCKET
from site_client.bundle.client_app import app as thin_app
from site_client.bundle.records import Asked
from site_client.enrolment import enrol, join
from site_client.layout import PROGRESS, VAULT, VAULT_KEY, WORKER_SOCKET
from site_client.policy import Policy
from site_client.site_folder import site_log
from site_client.vault import make_vault, open_vault
from site_client.vault_key import Secret
from site_client.worker.answering import COORDINATOR, Answering
from site_client.worker.desk import Answer, Desk
from site_client.worker.engines import Engines
from site_client.worker.progress import Board
from site_client.worker.server import serving

POLICY = "minimum_cases = 2\nminimum_scored_cases = 1\n"  # the tiny sites have few


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def started(tiny_study: Callable[..., Study], tmp_path: Path) -> Callable[..., Study]:
    """The tiny study, begun from a start file with random weights; keyword arguments as for `tiny_study`."""
    path = tmp_path / "start.safetensors"
    torch.manual_seed(0)
    write_start(path, tiny_study(), network_of(tiny_study()).tensors(), {})
    return lambda **options: tiny_study(server__pretrain__start=str(path), **options)


@dataclass
class Hospital:
    """The folder of hospital `north`, and what a test needs of its coordinator."""

    folder: Path
    authority: Authority
    coordinator_log: AuditLog

    @property
    def log(self) -> AuditLog:
        return site_log(self.folder)

    def approve(self, study: Study, method: str = "fedst", **options: Any) -> Request:
        """Approve a study; the request of its first round."""
        contract = facts_of(study, method)[1].digest
        Approvals(self.folder).approve(study, method, contract, "A. Vogel", **options)
        return Request(study_digest(study), contract, 1)

    def engines(self) -> Engines:
        """As after a start of the worker: nothing is in memory."""
        return Engines(self.folder, open_vault(self.folder / VAULT, self.log), torch.device("cpu"))

    def answering(self) -> Answering:
        return Answering(self.folder, self.log, self.engines())

    @contextlib.contextmanager
    def worker(self, answer: Answer | None = None) -> Iterator[Desk]:
        """The worker at its socket."""
        board = Board(self.folder / PROGRESS)
        refused = Policy(self.folder, self.log).refuse
        with serving(self.folder, "north", answer or self.answering(), board, refused) as desk:
            yield desk

    def with_head(self, asked: Asked) -> Asked:
        """With the coordinator's head, as it comes from the gateway's key."""
        pem, certificate = gateway_pem(self.authority, "localhost", datetime.now(UTC), timedelta(days=365))
        key: Any = load_pem_private_key(pem, None)
        head = sign_head(self.coordinator_log, COORDINATOR, key)
        return Asked(asked.request, asked.packed, head, certificate_pem(certificate))


@pytest.fixture
def hospital(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    """It has joined, and has a vault and a policy; nothing is approved."""
    now = datetime.now(UTC).replace(microsecond=0)
    coordinator, site = tmp_path / "coordinator", tmp_path / "site"
    make_federation(coordinator, "localhost", 9443, now)
    invite(coordinator, "north", tmp_path / "n.invite", now)
    enrol(tmp_path / "n.invite", site, data / "north", tmp_path / "n.request", now)
    admit(coordinator, tmp_path / "n.request", tmp_path / "n.admission", now)
    join(tmp_path / "n.admission", site, now)
    make_vault(site / VAULT, Secret(site / VAULT_KEY), site_log(site))
    (site / "run").mkdir(mode=0o700)
    (site / "policy.toml").write_text(POLICY)
    monkeypatch.setenv(SOCKET, str(site / WORKER_SOCKET))
    return Hospital(site, read_authority(coordinator), AuditLog(coordinator / "audit", COORDINATOR))


@pytest.fixture
def over_flower(hospital: Hospital) -> Callable[..., Message]:
    """Send a request through Flower to a ClientApp, by default the thin one; the reply as it comes over the wire."""

    def send(request: Request, update: Update, ttl_s: float = 60.0, app: Any = thin_app) -> Message:
        grid = InlineGrid(app, 1, ttl_s)
        asked = hospital.with_head(Asked(request, update.pack()))
        assert asked.head
        head = asked.head.facts() | {CERTIFICATE: asked.certificate}
        (reply,) = grid.send_and_receive([Outgoing(request, update, ttl_s, head).to(10)])
        return reply

    return send

"""The SuperLink's Control API: nodes are registered, runs are started and stopped. On this machine only.

The SuperLink knows one account and one federation when it is given no account plugin; both are its defaults.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key
from flwr.common.constant import HEARTBEAT_PATIENCE, Status
from flwr.common.serde import user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fab_pb2 import Fab
from flwr.supercore.constant import NodeStatus
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

from fedsurg.errors import SupervisionError

T = TypeVar("T")

TIMEOUT_S = 20.0
ACTIVE = (Status.PENDING, Status.STARTING, Status.RUNNING)


class ControlError(SupervisionError):
    """The SuperLink does not answer, or refuses."""


@dataclass(frozen=True)
class Node:
    """A registered node: its id at the SuperLink, its key (PEM), and when it last gave a sign of life."""

    id: int
    site: str
    key: bytes
    online: bool
    seen: datetime | None


@dataclass(frozen=True)
class FlowerRun:
    """A run as Flower sees it: `active` until it ended, and then how (completed, failed, stopped) and why."""

    id: int
    status: str
    how: str
    why: str

    @property
    def active(self) -> bool:
        """It has not ended."""
        return self.status in ACTIVE

    @property
    def started(self) -> bool:
        """Its process was started, and it has not ended."""
        return self.status in (Status.STARTING, Status.RUNNING)


class Control:
    """A client of the Control API at `port` of this machine; to be closed.

    Every method raises ControlError when the SuperLink does not answer or refuses.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"  # this process calls nobody else
        self._client = ControlHttpClient(
            f"http://127.0.0.1:{port}",
            interceptors=[RuntimeVersionHttpInterceptor(component_name="fedsurg server")],
            timeout=TIMEOUT_S,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._client.close()

    def nodes(self) -> list[Node]:
        """All nodes that are registered."""
        found = self._call(self._client.ListNodes, ListNodesRequest()).nodes_info
        return [_node(info) for info in found if info.status != NodeStatus.UNREGISTERED]

    def register(self, site: str, key: bytes) -> int:
        """Register a node; its id. A key that was unregistered is never taken again."""
        return int(self._call(self._client.RegisterNode, RegisterNodeRequest(public_key=key, name=site)).node_id)

    def unregister(self, node: int) -> None:
        """Shut a node out: from now on the SuperLink refuses whatever it sends."""
        self._call(self._client.UnregisterNode, UnregisterNodeRequest(node_id=node))

    def start(self, bundle: bytes, bundle_sha256: str, study: str) -> int:
        """Start a Flower run of the bundle for the study with this digest; the run's id."""
        request = StartRunRequest(
            fab=Fab(hash_str=bundle_sha256, content=bundle), override_config=user_config_to_proto({"study": study})
        )
        run = int(self._call(self._client.StartRun, request).run_id)
        if not run:
            raise ControlError("the SuperLink did not take the app bundle; see run/logs/superlink.log")
        return run

    def stop(self, run: int) -> None:
        """Stop a Flower run, if it has not ended."""
        found = self.run(run)
        if found and found.active:
            self._call(self._client.StopRun, StopRunRequest(run_id=run))

    def run(self, run: int) -> FlowerRun | None:
        """A Flower run; none: the SuperLink's database does not know it."""
        for each in self._call(self._client.ListRuns, ListRunsRequest(limit=1000)).run_dict.values():
            if each.run_id == run:
                return FlowerRun(run, each.status.status, each.status.sub_status, each.status.details)
        return None

    def _call(self, method: Callable[[Any], T], request: Any) -> T:
        try:
            return method(request)
        except httpx.HTTPStatusError as problem:
            raise ControlError(f"the SuperLink refuses: {_detail(problem.response)}") from problem
        except (httpx.HTTPError, ValueError) as problem:
            raise ControlError(
                f"the SuperLink at port {self._port} does not answer ({type(problem).__name__}); is fedsurg server "
                "start running?"
            ) from problem


def node_key(openssh: str) -> bytes:
    """The node key of a member as the SuperLink knows it: PEM.

    Raises:
        ControlError: it is no public key.
    """
    try:
        return load_ssh_public_key(openssh.encode()).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    except ValueError as problem:
        raise ControlError("a site's file holds no node key; restore it from a backup") from problem


def _node(info: Any) -> Node:
    seen = None
    if info.HasField("online_until"):
        margin = info.heartbeat_interval * HEARTBEAT_PATIENCE if info.status == NodeStatus.ONLINE else 0.0
        seen = datetime.fromtimestamp(info.online_until - margin, UTC)
    return Node(info.node_id, info.name, info.public_key, info.status == NodeStatus.ONLINE, seen)


def _detail(response: httpx.Response) -> str:
    try:
        body = json.loads(response.text)
        return " ".join(str(body[key]) for key in ("detail", "extra") if body.get(key)) or str(response.status_code)
    except (ValueError, AttributeError, TypeError):
        return f"status {response.status_code}"

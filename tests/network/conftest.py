"""A gateway on 127.0.0.1 with hospitals that joined by files, in front of a SuperLink that writes down what it gets."""

import asyncio
import base64
import io
import json
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.proto.fleet_pb2 import ActivateNodeRequest, ActivateNodeResponse, PushMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import Message, Metadata, ObjectTree
from flwr.proto.node_pb2 import Node

from fedsurg.joining.clock import now as clock_now
from fedsurg.tls import client_context
from server.federation_file import read_federation_file
from server.gateway.app import Gateway
from server.joining import admit, invite, make_federation
from site_client.enrolment import enrol, join, read_node_private_key

SITES = ("hospital-a", "hospital-b")
NODES = {"hospital-a": 1001, "hospital-b": 1002}
PROTOBUF = "application/protobuf"


def join_site(folder: Path, name: str) -> None:
    """Invite, enrol, admit, join, as people do with files."""
    moment = clock_now()
    files = {kind: folder / f"{name}.{kind}" for kind in ("invite", "request", "admission")}
    (folder / "data").mkdir(exist_ok=True)
    invite(folder / "coordinator", name, files["invite"], moment)
    enrol(files["invite"], folder / name, folder / "data", files["request"], moment)
    admit(folder / "coordinator", files["request"], files["admission"], moment)
    join(files["admission"], folder / name, moment)


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coordinator and two hospitals; made once, copied for each test."""
    folder = tmp_path_factory.mktemp("federation")
    make_federation(folder / "coordinator", "127.0.0.1", 9443, clock_now())
    for name in SITES:
        join_site(folder, name)
    return folder


@dataclass
class SuperLink:
    """Answers as Flower's does, as far as a gateway can see; `fail` is a status for all answers."""

    asked: list[tuple[str, bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    fail: int = 0
    delay: float = 0.0
    answers: dict[str, bytes] = field(default_factory=dict)
    keys: dict[bytes, int] = field(default_factory=dict)
    empty: int = 0  # answers without content

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        self.asked.append((request.path, body))
        self.headers.append(dict(request.headers))
        await asyncio.sleep(self.delay)
        if self.fail:
            return web.json_response({"code": 1, "detail": "no"}, status=self.fail)
        answer = self.answers.get(request.path, b"")
        if request.path.endswith("activate-node"):
            answer = ActivateNodeResponse(
                node_id=self.keys[ActivateNodeRequest.FromString(body).public_key]
            ).SerializeToString()
        if request.path.endswith("heartbeat"):
            answer = SendNodeHeartbeatResponse(success=True).SerializeToString()
        self.empty += not answer
        return web.Response(body=answer, content_type=PROTOBUF)


@dataclass
class Hospital:
    """What a SuperNode does, by hand: signed requests over TLS with the site's certificate."""

    folder: Path
    port: int
    session: aiohttp.ClientSession
    context: ssl.SSLContext

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        return read_node_private_key(self.folder / "private" / "node.key")

    @property
    def pem(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def headers(self, key: ec.EllipticCurvePrivateKey | None = None, at: datetime | None = None) -> dict[str, str]:
        used = key or self.key
        timestamp = (at or datetime.now(UTC)).isoformat()
        public = used.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        signature = used.sign(timestamp.encode(), ec.ECDSA(SHA256()))
        return {
            "content-type": PROTOBUF,
            "flwr-public-key": base64.b64encode(public).decode(),
            "flwr-timestamp": timestamp,
            "flwr-signature": base64.b64encode(signature).decode(),
        }

    async def post(self, name: str, message: Any = b"", **options: Any) -> tuple[int, bytes]:
        body = message if isinstance(message, bytes) else message.SerializeToString()
        headers = options.pop("headers", None) or self.headers()
        url = f"https://127.0.0.1:{self.port}/v1/fleet/{name}"
        async with self.session.post(
            url, data=io.BytesIO(body), headers=headers, ssl=self.context, **options
        ) as answer:
            return answer.status, await answer.read()

    async def activate(self) -> tuple[int, bytes]:
        return await self.post("activate-node", ActivateNodeRequest(public_key=self.pem, heartbeat_interval=30))

    async def heartbeat(self, node_id: int | None = None, **options: Any) -> tuple[int, bytes]:
        node = Node(node_id=NODES[self.folder.name] if node_id is None else node_id)
        return await self.post(
            "send-node-heartbeat", SendNodeHeartbeatRequest(node=node, heartbeat_interval=30), **options
        )

    def reply(
        self, source: int | None = None, target: int = 1, reply_to: str = "m1", count: int = 1
    ) -> PushMessagesRequest:
        """The site's answer to the SuperLink's message `m1`; a forged one has another source, target or question."""
        node = NODES[self.folder.name]
        facts = Metadata(src_node_id=source or node, dst_node_id=target, reply_to_message_id=reply_to, message_id="r1")
        return PushMessagesRequest(
            node=Node(node_id=node),
            messages_list=[Message(metadata=facts)] * count,
            message_object_trees=[ObjectTree(object_id="r1")] * count,
        )


@dataclass
class Scene:
    """All of it."""

    folder: Path
    port: int
    superlink: SuperLink
    gateway: Gateway
    hospitals: dict[str, Hospital]
    ahead: timedelta = timedelta()
    connection: str = ""  # of hospital-a, where a test has one

    @property
    def a(self) -> Hospital:
        return self.hospitals["hospital-a"]

    @property
    def b(self) -> Hospital:
        return self.hospitals["hospital-b"]

    @property
    def coordinator(self) -> Path:
        return self.folder / "coordinator"

    @staticmethod
    def detail(answer: bytes) -> str:
        """What a refusal says."""
        return str(json.loads(answer)["detail"])

    def log(self) -> str:
        return (self.coordinator / "run/logs/requests.jsonl").read_text("utf-8")

    async def audit(self) -> str:
        await self.gateway.notices.settle()
        return "".join(path.read_text("utf-8") for path in sorted((self.coordinator / "audit").glob("*.jsonl")))


@asynccontextmanager
async def scene(federation: Path, folder: Path, *, gateway: str = "", up: bool = True) -> AsyncIterator[Scene]:
    """A running gateway. `gateway` is the text of its table in federation.toml; without `up` there is no SuperLink."""
    shutil.copytree(federation, folder, dirs_exist_ok=True)
    superlink, coordinator = SuperLink(), folder / "coordinator"
    async with AsyncExitStack() as stack:
        public, loopback = stack.enter_context(bound()), stack.enter_context(bound())
        server = web.Server(superlink.handle, access_log=None)
        if up:
            await asyncio.get_running_loop().create_server(server, sock=loopback)
            stack.push_async_callback(server.shutdown, 0.1)
        port = write_settings(coordinator, public, loopback, gateway)
        made = Scene(folder, port, superlink, None, {})  # type: ignore[arg-type]
        made.gateway = Gateway(coordinator, read_federation_file(coordinator), lambda: datetime.now(UTC) + made.ahead)
        stack.push_async_callback(made.gateway.close)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        for name in SITES:
            site = folder / name
            context = client_context(site / "private/identity.pem", site / "ca.pem")
            made.hospitals[name] = Hospital(site, port, session, context)
            superlink.keys[made.hospitals[name].pem] = NODES[name]
        public.listen()
        for work in (made.gateway.door.serve(public), made.gateway.watch()):
            task = asyncio.create_task(work)
            stack.push_async_callback(ended, task)
        yield made


def bound() -> socket.socket:
    """A port of its own; nobody listens there yet."""
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    return made


def write_settings(coordinator: Path, public: socket.socket, superlink: socket.socket, gateway: str) -> int:
    port = int(public.getsockname()[1])
    text = f'host = "127.0.0.1"\nport = {port}\n[ports]\nsuperlink = {superlink.getsockname()[1]}\n'
    (coordinator / "federation.toml").write_text(f'{text}[gateway]\nlisten = "127.0.0.1"\n{gateway}\n', "utf-8")
    return port


async def ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """Nobody listens there, and nobody else can."""
    with bound() as found:
        yield int(found.getsockname()[1])


Play = Callable[[Scene], Awaitable[None]]


@pytest.fixture
def play(federation: Path, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Run one scene: `play(actions, gateway="...")`."""

    def run(actions: Play, **options: Any) -> None:
        async def whole() -> None:
            async with scene(federation, tmp_path, **options) as made:
                await actions(made)

        asyncio.run(whole())

    return run  # type: ignore[return-value]

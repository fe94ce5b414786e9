"""From a SuperNode through connection and gateway: real TLS on 127.0.0.1, with and without a proxy."""

import asyncio
import base64
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from flwr.proto.fab_pb2 import Fab, GetFabRequest, GetFabResponse
from flwr.proto.fleet_pb2 import ActivateNodeRequest, ActivateNodeResponse
from flwr.proto.message_pb2 import PullObjectResponse, PushObjectRequest
from flwr.proto.node_pb2 import Node

from fedsurg.errors import JoiningError
from fedsurg.joining.clock import now as clock_now
from fedsurg.tls import server_context
from server.authority import gateway_pem, make_authority, read_authority
from server.joining import revoke
from site_client.connection import check_connection
from site_client.connection.explain import explained
from site_client.connection.forwarder import Forwarder
from site_client.connection.route import Proxy, read_proxy, route_of, shown_identity
from site_client.loopback import make_loopback
from site_client.site_folder import Membership, read_membership, write_membership

APP = b"the app of this installation"
DIGEST = hashlib.sha256(APP).hexdigest()


@asynccontextmanager
async def connection(scene: Any, *, wait: float = 10.0, **changes: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """Of hospital-a; yields a session that speaks to it as a SuperNode does."""
    folder = set_up(scene, **changes)
    pair = make_loopback(folder / "run")
    route, identity = route_of(read_membership(folder), {}), shown_identity(folder, print)
    forwarder = Forwarder(folder, route, identity, DIGEST, wait=wait)
    server = web.Server(forwarder.handle, handler_cancellation=True, auto_decompress=False, access_log=None)
    context = server_context(pair.pem)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=context)
    scene.connection = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=pair.root))
    async with aiohttp.ClientSession(scene.connection, connector=trusting) as session:
        try:
            yield session
        finally:
            listening.close()
            await server.shutdown(0.1)
            await forwarder.close()


def set_up(scene: Any, **changes: Any) -> Path:
    folder: Path = scene.a.folder
    facts = {"host": "127.0.0.1", "port": scene.port, "proxy": None} | changes
    write_membership(folder, read_membership(folder).model_copy(update=facts))
    return folder


async def post(session: aiohttp.ClientSession, scene: Any, name: str, message: Any) -> tuple[int, bytes]:
    body = message.SerializeToString()
    async with session.post(f"/v1/fleet/{name}", data=body, headers=scene.a.headers()) as answer:
        return answer.status, await answer.read()


def activation(scene: Any) -> ActivateNodeRequest:
    return ActivateNodeRequest(public_key=scene.a.pem, heartbeat_interval=30)


def test_a_request_goes_to_the_superlink_and_back(play: Any) -> None:
    async def actions(scene: Any) -> None:
        async with connection(scene) as session:
            status, answer = await post(session, scene, "activate-node", activation(scene))
            assert (status, ActivateNodeResponse.FromString(answer).node_id) == (200, 1001)
            model = PullObjectResponse(object_found=True, object_content=bytes(3 << 20)).SerializeToString()
            scene.superlink.answers["/v1/fleet/pull-object"] = model
            update = PushObjectRequest(node=Node(node_id=1001), object_content=bytes(500_000))
            assert (await post(session, scene, "push-object", update))[0] == 200
            assert scene.superlink.asked[-1][1] == update.SerializeToString()
            pull = PushObjectRequest(node=Node(node_id=1001))
            assert await post(session, scene, "pull-object", pull) == (200, model)
        facts = json.loads((scene.a.folder / "run/connection.json").read_text())
        assert facts["state"] == "ok"
        assert (facts["bytes_sent"] > 500_000, facts["bytes_received"] > 3 << 20) == (True, True)
        lines = [json.loads(line) for line in (scene.a.folder / "run/logs/connection.jsonl").read_text().splitlines()]
        assert [(line["path"], line["status"]) for line in lines] == [
            (f"/v1/fleet/{name}", 200) for name in ("activate-node", "push-object", "pull-object")
        ]

    play(actions)


def test_other_paths_do_not_leave_the_hospital(play: Any) -> None:
    async def actions(scene: Any) -> None:
        async with connection(scene) as session:
            status, _ = await post(session, scene, "register-node", activation(scene))
        assert status == 404
        assert not (scene.coordinator / "run/logs/requests.jsonl").read_text()

    play(actions)


@pytest.mark.parametrize(
    ("content", "name", "status"),
    [(APP, DIGEST, 200), (b"another app", DIGEST, 403), (APP, "0" * 64, 403), (b"another app", None, 403)],
)
def test_only_this_installations_app_reaches_the_node(play: Any, content: bytes, name: str | None, status: int) -> None:
    async def actions(scene: Any) -> None:
        fab = Fab(hash_str=name or hashlib.sha256(content).hexdigest(), content=content)
        scene.superlink.answers["/v1/fleet/get-fab"] = GetFabResponse(fab=fab).SerializeToString()
        async with connection(scene) as session:
            wanted = GetFabRequest(node=Node(node_id=1001), hash_str=fab.hash_str, run_id=1)
            found, answer = await post(session, scene, "get-fab", wanted)
        assert found == status
        assert (content in answer) == (status == 200)
        if status == 403:
            assert "is not the one of this installation" in scene.detail(answer)

    play(actions)


@pytest.mark.parametrize("status", [201, 203, 206])
def test_no_other_success_brings_an_app_past_the_check(play: Any, status: int) -> None:
    """A dishonest coordinator's: whoever asked takes 201 for a success as well."""

    async def actions(scene: Any) -> None:
        fab = Fab(hash_str=hashlib.sha256(b"evil").hexdigest(), content=b"evil")
        scene.superlink.answers["/v1/fleet/get-fab"] = GetFabResponse(fab=fab).SerializeToString()
        scene.superlink.fail = status
        async with connection(scene) as session:
            wanted = GetFabRequest(node=Node(node_id=1001), hash_str=fab.hash_str, run_id=1)
            found, answer = await post(session, scene, "get-fab", wanted)
        assert (found, b"evil" in answer) == (502, False)
        assert scene.detail(answer) == f"/v1/fleet/get-fab: the gateway answered with status {status}"

    play(actions)


def test_a_long_upload_does_not_time_out(play: Any) -> None:
    """A SuperNode waits for a while for the beginning of an answer; it is told that things go on."""
    import httpx

    async def actions(scene: Any) -> None:
        scene.superlink.delay = 1.5

        def ask() -> int:
            context = ssl.create_default_context(cafile=scene.a.folder / "run/loopback-root.pem")
            with httpx.Client(verify=context, timeout=0.7, trust_env=False) as client:
                url = f"{scene.connection}/v1/fleet/activate-node"
                content = activation(scene).SerializeToString()
                return client.post(url, content=content, headers=scene.a.headers()).status_code

        async with connection(scene, wait=0.2):
            assert await asyncio.to_thread(ask) == 200

    play(actions)


def test_a_refusal_of_the_gateway_is_one_line_at_the_hospital(play: Any, capsys: pytest.CaptureFixture[str]) -> None:
    async def actions(scene: Any) -> None:
        async with connection(scene) as session:
            await post(session, scene, "activate-node", activation(scene))
            revoke(scene.coordinator, "hospital-a", "", clock_now())
            for _ in range(3):
                status, answer = await post(session, scene, "activate-node", activation(scene))
        why = "the gateway refused: hospital-a was revoked by the coordinator; ask why, and for an invitation"
        assert (status, scene.detail(answer)) == (401, why)
        assert len([line for line in capsys.readouterr().err.splitlines() if line.endswith(why)]) == 1
        facts = json.loads((scene.a.folder / "run/connection.json").read_text())
        assert (facts["state"], facts["why"]) == ("refused", why)
        with pytest.raises(JoiningError, match="the gateway refused: hospital-a was revoked"):
            await asyncio.to_thread(check_connection, scene.a.folder)

    play(actions)


def test_the_check_says_where_the_gateway_is(play: Any) -> None:
    async def actions(scene: Any) -> None:
        set_up(scene)
        said = await asyncio.to_thread(check_connection, scene.a.folder)
        assert said.startswith(f"127.0.0.1:{scene.port} answers as this federation's gateway, in ")
        scene.ahead = timedelta(seconds=-60)
        with pytest.raises(JoiningError, match=r"clock of this machine is (59|60|61) s ahead of the coordinator's"):
            await asyncio.to_thread(check_connection, scene.a.folder)

    play(actions)


def test_the_check_names_what_is_wrong(play: Any, deaf_port: int) -> None:
    async def actions(scene: Any) -> None:
        async def said(**changes: Any) -> str:
            set_up(scene, **changes)
            with pytest.raises(JoiningError) as caught:
                await asyncio.to_thread(check_connection, scene.a.folder)
            assert "\n" not in str(caught.value)
            return str(caught.value)

        assert "nobody listens there" in await said(port=deaf_port)
        assert "the name nowhere.invalid is not known here" in await said(host="nowhere.invalid")
        assert "certificate is for another host than" in await said(host="localhost")
        assert "the proxy does not answer" in await said(proxy=f"http://127.0.0.1:{deaf_port}")
        gateway = scene.coordinator / "private/gateway.pem"
        kept = gateway.read_bytes()
        for authority, moment, expected in (
            (make_authority("fl.example.org", clock_now()), clock_now(), "is not this federation's gateway"),
            (read_authority(scene.coordinator), clock_now() - timedelta(days=9), "the gateway's certificate has ended"),
        ):
            content, _ = gateway_pem(authority, "127.0.0.1", moment, timedelta(days=1))
            gateway.write_bytes(content)
            assert expected in await said()
        gateway.write_bytes(kept)
        (scene.coordinator / "ca.pem").write_text(make_authority("fl.example.org", clock_now()).pem)
        gateway.write_bytes(kept + b"\n")
        assert "does not take this site's certificate: the coordinator's log says why" in await said()

    play(actions)


def test_an_ended_certificate_of_its_own_is_named_first() -> None:
    route = route_of(Membership(**MEMBER), {})  # type: ignore[arg-type]
    moment = clock_now()
    said = explained(aiohttp.ServerDisconnectedError(), route, moment, moment - timedelta(seconds=1))
    assert said.startswith("fl.example.org:9443: this site's certificate ended at ")
    said = explained(aiohttp.ServerDisconnectedError(), route, moment, moment + timedelta(seconds=1))
    assert "the connection was closed (ServerDisconnectedError)" in said


class SmallProxy:
    """An HTTP proxy that knows CONNECT alone; it writes down where to, and asks for a password."""

    def __init__(self, wanted: str = "") -> None:
        self.asked: list[str] = []
        self._wanted = wanted

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.splitlines()[0].split()
        self.asked.append(f"{method} {target}")
        wanted = base64.b64encode(self._wanted.encode()).decode()
        if self._wanted and f"Basic {wanted}" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        host, _, port = target.rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pipe(reader, back), pipe(there, writer))


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


def test_through_a_proxy_with_a_password(play: Any, capsys: pytest.CaptureFixture[str]) -> None:
    async def actions(scene: Any) -> None:
        proxy = SmallProxy("user:se cret")
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with_password = f"http://user:se%20cret@127.0.0.1:{port}"
        async with connection(scene, proxy=with_password) as session:
            assert (await post(session, scene, "activate-node", activation(scene)))[0] == 200
        assert proxy.asked == [f"CONNECT 127.0.0.1:{scene.port}"]
        said = await asyncio.to_thread(check_connection, scene.a.folder)
        assert f"through the proxy 127.0.0.1:{port}" in said
        set_up(scene, proxy=f"http://user:wrong@127.0.0.1:{port}")
        with pytest.raises(JoiningError, match="the proxy wants a user and password, or others") as caught:
            await asyncio.to_thread(check_connection, scene.a.folder)
        server.close()
        shown = capsys.readouterr()
        logs = "".join(path.read_text() for path in (scene.a.folder / "run").rglob("*.json*"))
        assert not [
            word for word in ("cret", "wrong") if word in said + str(caught.value) + shown.err + shown.out + logs
        ]

    play(actions)


MEMBER = {"site": "hospital-a", "data": "/data", "host": "fl.example.org", "port": 9443, "authority": "0" * 64}


@pytest.mark.parametrize(
    ("own", "environment", "expected"),
    [
        (None, {}, None),
        (None, {"HTTPS_PROXY": "http://p.example.org:8080"}, "p.example.org:8080"),
        (None, {"https_proxy": "p.example.org"}, "p.example.org:3128"),
        (None, {"HTTPS_PROXY": "http://p.example.org", "NO_PROXY": "example.org"}, None),
        ("", {"HTTPS_PROXY": "http://p.example.org"}, None),
        ("http://q.example.org:1", {"HTTPS_PROXY": "http://p.example.org"}, "q.example.org:1"),
    ],
)
def test_which_proxy(own: str | None, environment: dict[str, str], expected: str | None) -> None:
    route = route_of(Membership(**MEMBER, proxy=own), environment)  # type: ignore[arg-type]
    assert (repr(route.proxy) if route.proxy else None) == expected


@pytest.mark.parametrize(
    "text", ["socks5://p:1", "http://user:secret@:80", "http://user:secret@p:port", "http://u:secret@p/x"]
)
def test_what_is_no_proxy_is_named_without_its_password(text: str) -> None:
    with pytest.raises(JoiningError, match="not a proxy") as caught:
        read_proxy(text, "HTTPS_PROXY")
    assert "secret" not in str(caught.value)


def test_a_proxys_password_is_in_no_text() -> None:
    assert "secret" not in repr(Proxy("http://p:1", "user", "secret"))

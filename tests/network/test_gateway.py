"""What the gateway passes on to the SuperLink, what it answers itself, and how much of it."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from flwr.proto.fleet_pb2 import ActivateNodeResponse, PullMessagesRequest
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.node_pb2 import Node
from multidict import CIMultiDict
from yarl import URL

from server.gateway.limits import Allowance


def test_a_site_gets_through(play: Any) -> None:
    async def actions(scene: Any) -> None:
        status, answer = await scene.a.activate()
        assert (status, ActivateNodeResponse.FromString(answer).node_id) == (200, 1001)
        assert (await scene.a.heartbeat())[0] == 200
        scene.superlink.answers["/v1/fleet/pull-messages"] = b"\x0a\x02\x08\x05"
        pull = PullMessagesRequest(node=Node(node_id=1001))
        assert await scene.a.post("pull-messages", pull) == (200, b"\x0a\x02\x08\x05")
        message = scene.a.reply()
        assert (await scene.a.post("push-messages", message))[0] == 200
        assert scene.superlink.asked[-1][1] == message.SerializeToString()
        last = json.loads(scene.log().splitlines()[-1])
        assert (last["site"], last["path"], last["status"]) == ("hospital-a", "/v1/fleet/push-messages", 200)
        assert last["bytes_in"] == len(message.SerializeToString())
        assert "gateway refused" not in await scene.audit()

    play(actions)


def test_only_flowers_own_headers_are_passed_on(play: Any) -> None:
    async def actions(scene: Any) -> None:
        headers = scene.a.headers() | {"X-Forwarded-For": "10.0.0.1", "Cookie": "a=b", "Authorization": "Basic x"}
        assert (await scene.a.heartbeat(headers=headers))[0] == 200
        passed = {name.lower() for name in scene.superlink.headers[-1]}
        assert passed == {
            "accept", "content-length", "content-type", "flwr-public-key", "flwr-signature", "flwr-timestamp", "host",
        }  # fmt: skip

    play(actions)


def test_a_page_of_its_own(play: Any) -> None:
    async def actions(scene: Any) -> None:
        url = f"https://127.0.0.1:{scene.port}/hello"
        async with scene.a.session.get(url, ssl=scene.a.context) as answer:
            facts = await answer.json()
        assert facts["site"] == "hospital-a"
        assert abs(facts["time"] - datetime.now(UTC).timestamp()) < 5
        assert not scene.superlink.asked

    play(actions)


@pytest.mark.parametrize(
    "path", ["register-node", "unregister-node", "../control/start-run", "pull%2Dmessages", "get-run?x=1"]
)
def test_other_paths_are_not_passed_on(play: Any, path: str) -> None:
    async def actions(scene: Any) -> None:
        url = URL(f"https://127.0.0.1:{scene.port}/v1/fleet/{path}", encoded=True)
        async with scene.a.session.post(url, headers=scene.a.headers(), ssl=scene.a.context) as answer:
            assert (answer.status, answer.headers["fedsurg-refused"]) == (404, "path")
        assert not scene.superlink.asked

    play(actions)


@pytest.mark.parametrize("name", ["flwr-public-key", "flwr-timestamp", "accept"])
def test_a_header_that_comes_twice_is_refused(play: Any, name: str) -> None:
    """The gateway would check the first, the SuperLink might take the second."""

    async def actions(scene: Any) -> None:
        headers = CIMultiDict(scene.a.headers() | {"accept": "application/protobuf"})
        headers.add(name, headers[name])
        url = f"https://127.0.0.1:{scene.port}/v1/fleet/send-node-heartbeat"
        async with scene.a.session.post(url, data=b"", headers=headers, ssl=scene.a.context) as answer:
            assert (answer.status, answer.headers["fedsurg-refused"]) == (400, "form")
            assert f"the header {name} comes more than once" in scene.detail(await answer.read())
        assert not scene.superlink.asked

    play(actions)


def test_a_body_is_no_longer_than_its_path_allows(play: Any) -> None:
    async def actions(scene: Any) -> None:
        def pushed(size: int) -> bytes:
            content = PushObjectRequest(node=Node(node_id=1001), object_content=bytes(size))
            return bytes(content.SerializeToString())

        assert (await scene.a.post("push-object", pushed(6 << 20)))[0] == 200
        assert (await scene.a.post("push-object", pushed(7 << 20)))[0] == 413

        async def chunks() -> Any:
            for _ in range(7):
                yield bytes(1 << 20)

        url = f"https://127.0.0.1:{scene.port}/v1/fleet/push-object"
        status = 413
        try:
            async with scene.a.session.post(
                url, data=chunks(), headers=scene.a.headers(), ssl=scene.a.context
            ) as answer:
                status = answer.status
        except aiohttp.ClientError:
            pass  # closed while it was still sending
        assert status == 413
        assert (await scene.a.post("get-run", bytes(20 << 10)))[0] == 413
        assert [path for path, _ in scene.superlink.asked] == ["/v1/fleet/push-object"]

    play(actions, gateway="object_mib = 6")


def test_who_asks_too_often_waits(play: Any) -> None:
    async def actions(scene: Any) -> None:
        scene.gateway._allowance = Allowance(1.0, 1e9, lambda: 0.0)
        assert [(await scene.a.heartbeat())[0] for _ in range(12)] == [200] * 10 + [503] * 2
        assert (await scene.b.heartbeat())[0] == 200
        assert json.loads(scene.log().splitlines()[-2])["reason"] == "rate"

    play(actions)


def test_no_superlink_is_said_so_that_the_node_tries_again(play: Any) -> None:
    async def actions(scene: Any) -> None:
        status, answer = await scene.a.heartbeat()
        assert (status, scene.detail(answer)) == (503, "the SuperLink does not answer; it is being started again")

    play(actions, up=False)


def test_an_error_of_the_superlink_is_one_that_the_node_asks_again_after(play: Any) -> None:
    async def actions(scene: Any) -> None:
        scene.superlink.fail = 500
        status, answer = await scene.a.heartbeat()
        assert (status, scene.detail(answer)) == (503, "the SuperLink failed at a request; it is asked again")
        scene.superlink.fail = 0
        assert (await scene.a.heartbeat())[0] == 200

    play(actions)


def test_a_redirection_is_not_followed(play: Any) -> None:
    async def actions(scene: Any) -> None:
        scene.superlink.fail = 307
        assert (await scene.a.heartbeat())[0] == 502

    play(actions)


def test_who_hangs_up_is_in_the_log_too(play: Any) -> None:
    async def actions(scene: Any) -> None:
        scene.superlink.delay = 20
        with pytest.raises(TimeoutError):
            await scene.a.heartbeat(timeout=aiohttp.ClientTimeout(total=1))
        async with asyncio.timeout(5):
            while not scene.log():
                await asyncio.sleep(0.02)
        assert [json.loads(scene.log())[key] for key in ("status", "reason")] == [499, "broken"]

    play(actions)

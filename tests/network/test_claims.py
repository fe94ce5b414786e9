"""What a site says of itself in a request is true, or refused: one field wrong at a time."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest


def test_another_sites_key_is_refused(play: Any) -> None:
    async def actions(scene: Any) -> None:
        status, answer = await scene.a.heartbeat(headers=scene.a.headers(key=scene.b.key))
        assert (status, scene.detail(answer)) == (
            401,
            "hospital-a came with a node key that is not the one it joined with",
        )
        wanted = ActivateNodeRequest(public_key=scene.b.pem, heartbeat_interval=30)
        assert (await scene.a.post("activate-node", wanted))[0] == 403
        assert not scene.superlink.asked
        assert '"reason":"forged"' in await scene.audit()

    play(actions)


def test_another_sites_node_is_refused(play: Any) -> None:
    async def actions(scene: Any) -> None:
        await scene.a.activate()
        await scene.b.activate()
        count = len(scene.superlink.asked)
        status, answer = await scene.a.heartbeat(1002)
        assert (status, scene.detail(answer)) == (403, "hospital-a named node 1002, which is the node of hospital-b")
        assert (await scene.a.heartbeat(1003))[0] == 403
        assert (await scene.a.heartbeat(0))[0] == (await scene.a.heartbeat(1))[0] == 403
        assert len(scene.superlink.asked) == count

    play(actions)


def test_a_node_is_learnt_after_a_restart_and_forgotten_when_the_superlink_does(play: Any) -> None:
    async def actions(scene: Any) -> None:
        assert (await scene.a.heartbeat())[0] == 200
        assert (await scene.b.heartbeat(1001))[0] == 403
        scene.superlink.fail = 401
        assert (await scene.a.heartbeat())[0] == 401
        assert '"reason":"node"' in await scene.audit()
        scene.superlink.fail = 0
        assert (await scene.a.heartbeat(2001))[0] == 200

    play(actions)


@pytest.mark.parametrize(
    ("message", "status", "said"),
    [
        ({"source": 1002}, 403, "hospital-a (node 1001) pushed a message from node 1002"),
        ({"target": 1002}, 403, "hospital-a pushed a message that answers none of the SuperLink's"),
        ({"reply_to": ""}, 403, "hospital-a pushed a message that answers none of the SuperLink's"),
        ({"count": 2}, 400, "hospital-a pushed 2 messages at once; it has to be one"),
        (b"\xff\xff", 400, "hospital-a sent a body that is not one of /v1/fleet/push-messages"),
    ],
)
def test_a_forged_message_is_refused(play: Any, message: Any, status: int, said: str) -> None:
    async def actions(scene: Any) -> None:
        await scene.a.activate()
        count = len(scene.superlink.asked)
        body = message if isinstance(message, bytes) else scene.a.reply(**message)
        found, answer = await scene.a.post("push-messages", body)
        assert (found, scene.detail(answer)) == (status, said)
        assert len(scene.superlink.asked) == count
        assert ('"reason":"forged"' in await scene.audit()) == (status == 403)

    play(actions)


def test_a_request_is_taken_once(play: Any) -> None:
    async def actions(scene: Any) -> None:
        headers = scene.a.headers()
        assert (await scene.a.heartbeat(headers=headers))[0] == 200
        status, answer = await scene.a.heartbeat(headers=headers)
        assert (status, scene.detail(answer)) == (
            503,
            "hospital-a sent a request a second time; a new one has to be signed anew",
        )
        # Another signature of the same time is as good to Flower, and no second chance here.
        again = scene.a.headers(at=datetime.fromisoformat(headers["flwr-timestamp"]))
        assert again["flwr-signature"] != headers["flwr-signature"]
        assert (await scene.a.heartbeat(headers=again))[0] == 503
        assert len(scene.superlink.asked) == 1
        assert '"reason":"replayed"' in await scene.audit()

    play(actions)


@pytest.mark.parametrize(("seconds", "status"), [(-400, 401), (-200, 200), (3, 200), (60, 401)])
def test_a_wrong_clock_is_named(play: Any, seconds: int, status: int) -> None:
    async def actions(scene: Any) -> None:
        signed = scene.a.headers(at=datetime.now(UTC) + timedelta(seconds=seconds))
        found, answer = await scene.a.heartbeat(headers=signed)
        assert found == status
        if status == 401:
            side, wanted = ("ahead", seconds) if seconds > 0 else ("behind", -seconds)
            match = re.match(rf"the clock of hospital-a is (\d+) s {side}", scene.detail(answer))
            assert match
            assert abs(int(match[1]) - wanted) < 15

    play(actions)


def test_the_log_of_many_equal_refusals_is_one_audit_line(play: Any) -> None:
    async def actions(scene: Any) -> None:
        for _ in range(5):
            await scene.a.heartbeat(headers=scene.a.headers(key=scene.b.key))
        assert (await scene.audit()).count('"what":"gateway refused"') == 1
        assert len(scene.log().splitlines()) == 5

    play(actions)

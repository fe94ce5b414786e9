"""A site that asks for messages is answered as soon as there is one, and never fetches one for nobody."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.node_pb2 import Node

from fedsurg.joining.clock import now
from server.gateway import hold
from server.joining import revoke

PULL = "/v1/fleet/pull-messages"
MESSAGE = b"\x0a\x02\x08\x05"


@pytest.fixture
def pull() -> PullMessagesRequest:
    """Of hospital-a."""
    return PullMessagesRequest(node=Node(node_id=1001))


def looks(scene: Any) -> int:
    """How often the SuperLink was asked for messages."""
    return sum(path == PULL for path, _ in scene.superlink.asked)


async def held(scene: Any, pull: PullMessagesRequest) -> "asyncio.Task[tuple[int, bytes]]":
    """A request for messages that finds none and waits."""
    task = asyncio.create_task(scene.a.post("pull-messages", pull))
    while not looks(scene):
        await asyncio.sleep(0.01)
    return task


def test_a_message_that_comes_later_is_delivered_at_once(play: Any, pull: PullMessagesRequest) -> None:
    async def actions(scene: Any) -> None:
        task = await held(scene, pull)
        scene.superlink.answers[PULL] = MESSAGE
        begun = time.monotonic()
        assert await task == (200, MESSAGE)
        assert time.monotonic() - begun < 2.0  # Flower's node would have slept three seconds
        assert looks(scene) == 2

    play(actions)


def test_a_site_with_nothing_to_do_is_answered_in_the_end(
    play: Any, pull: PullMessagesRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold, "HOLD_SECONDS", 1.0)

    async def actions(scene: Any) -> None:
        begun = time.monotonic()
        assert await scene.a.post("pull-messages", pull) == (200, b"")
        assert 0.4 < time.monotonic() - begun < 5.0
        assert looks(scene) > 1

    play(actions)


def test_a_site_that_went_away_fetches_no_message(play: Any, pull: PullMessagesRequest) -> None:
    async def actions(scene: Any) -> None:
        task = await held(scene, pull)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        scene.superlink.answers[PULL] = MESSAGE
        before = looks(scene)
        await asyncio.sleep(1.0)
        assert looks(scene) == before
        assert '"reason": "broken"' in scene.log()

    play(actions)


def test_a_site_that_is_revoked_while_it_waits_gets_no_message(play: Any, pull: PullMessagesRequest) -> None:
    async def actions(scene: Any) -> None:
        task = await held(scene, pull)
        revoke(scene.coordinator, "hospital-a", "test", now())
        scene.superlink.answers[PULL] = MESSAGE
        (answer,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(answer, aiohttp.ClientError) or answer[0] == 401

    play(actions)


def test_a_gateway_that_stops_keeps_nobody_waiting(play: Any, pull: PullMessagesRequest) -> None:
    async def actions(scene: Any) -> None:
        task = await held(scene, pull)
        begun = time.monotonic()
        await scene.gateway.close()
        assert await task == (200, b"")
        assert time.monotonic() - begun < 2.0

    play(actions)

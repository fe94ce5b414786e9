"""A site that asks for messages is answered as soon as there is one, and never fetches one for nobody."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
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
    while not scene.superlink.empty:
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
        assert 1 < looks(scene) <= 3  # after 0, 0.2 and 0.6 s: the longer it waits, the less often

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


def test_a_site_that_asks_anew_ends_its_request_before(play: Any, pull: PullMessagesRequest) -> None:
    """As after a network that was lost without a word: the message is for the request that somebody waits for."""

    async def actions(scene: Any) -> None:
        old = await held(scene, pull)
        new = asyncio.create_task(scene.a.post("pull-messages", pull))
        assert await old == (200, b"")
        scene.superlink.answers[PULL] = MESSAGE
        assert await new == (200, MESSAGE)

    play(actions)


def test_a_connection_that_is_not_welcome_any_more_gets_no_message(play: Any, pull: PullMessagesRequest) -> None:
    """Not even a reason: with a certificate that was only replaced it is to come again, and not to give up."""

    async def actions(scene: Any) -> None:
        task = await held(scene, pull)
        revoke(scene.coordinator, "hospital-a", "test", now())
        scene.superlink.answers[PULL] = MESSAGE
        with pytest.raises(aiohttp.ClientError):
            await task
        assert "gateway refused" not in await scene.audit()

    play(actions)


def test_a_request_is_not_held_until_its_time_is_too_old(play: Any, pull: PullMessagesRequest) -> None:
    async def actions(scene: Any) -> None:
        begun = time.monotonic()
        signed = scene.a.headers(at=datetime.now(UTC) - timedelta(seconds=299.9))
        assert await scene.a.post("pull-messages", pull, headers=signed) == (200, b"")
        assert time.monotonic() - begun < 3.0
        assert looks(scene) == 1

    play(actions)


def test_a_gateway_that_stops_keeps_nobody_waiting(play: Any, pull: PullMessagesRequest) -> None:
    async def actions(scene: Any) -> None:
        task = await held(scene, pull)
        begun = time.monotonic()
        await scene.gateway.close()
        assert await task == (200, b"")
        assert time.monotonic() - begun < 2.0

    play(actions)

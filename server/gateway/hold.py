"""Long polling: a node that asks for a message when there is none is answered as soon as there is one.

Flower's SuperNode asks, and when there is nothing sleeps for three seconds, which a short round pays for at each site.
Here its request is held, and the SuperLink asked again on its behalf.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import aiohttp

HOLD_SECONDS = 8.0  # less than a site's connection waits before it says that a request is still being worked on
FIRST_SECONDS, LONGEST_SECONDS = 0.2, 1.6  # between two looks: a site that waits long costs the SuperLink less

Ask = Callable[[], Awaitable[aiohttp.ClientResponse]]


class Hold:
    """Holds requests for messages; one for all sites."""

    def __init__(self) -> None:
        self._over = asyncio.Event()

    def end(self) -> None:
        """Answer all at once, and hold none from now on: the gateway stops."""
        self._over.set()

    async def answer(self, ask: Ask, still_welcome: Callable[[], Awaitable[None]]) -> aiohttp.ClientResponse:
        """The SuperLink's first answer that is not empty, or the last empty one.

        A site that goes away meanwhile cancels this, so no message is fetched for nobody.

        Args:
            ask: the SuperLink, once.
            still_welcome: raises when the site must have no message any more.

        Raises:
            RefusedError: the site was revoked while it waited.
            aiohttp.ClientError, OSError, TimeoutError: the SuperLink did not answer.
        """
        clock, pause = asyncio.get_running_loop().time, FIRST_SECONDS
        end = clock() + HOLD_SECONDS
        while True:
            answer = await ask()
            empty = answer.status == 200 and answer.content_length == 0
            if not empty or self._over.is_set() or clock() + pause > end:
                return answer
            answer.release()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), pause)
            await still_welcome()
            pause = min(2 * pause, LONGEST_SECONDS)

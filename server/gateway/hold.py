"""Long polling: a node that asks for a message when there is none waits here, and is answered soon after there is one.

Flower's SuperNode asks, and when there is nothing sleeps for three seconds, which a short round pays for at each site.
Here its request is held, and the SuperLink asked again on its behalf.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

import aiohttp

HOLD_SECONDS = 8.0  # less than a site's connection waits before it says that a request is still being worked on
FIRST_SECONDS, LONGEST_SECONDS = 0.2, 1.6  # between two looks: a site that waits long costs the SuperLink less

Ask = Callable[[], Awaitable[aiohttp.ClientResponse]]


class Hold:
    """Holds requests for messages, one of each site."""

    def __init__(self) -> None:
        self._ended = False
        self._held: dict[str, asyncio.Event] = {}

    def end(self) -> None:
        """Answer all at once, and hold none from now on: the gateway stops."""
        self._ended = True
        for over in self._held.values():
            over.set()

    async def answer(
        self, site: str, ask: Ask, still_welcome: Callable[[], Awaitable[None]], longest: float
    ) -> aiohttp.ClientResponse:
        """The SuperLink's first answer that is not empty, or the last empty one.

        A site that hangs up cancels this, and one that asks anew ends it: a message is hardly ever fetched for nobody.

        Args:
            site: that asks.
            ask: the SuperLink, once.
            still_welcome: raises when this connection must get no message any more.
            longest: seconds after which the request is too old to be passed on.

        Raises:
            RefusedError: the SuperLink did not answer.
            ConnectionError: the site's certificate was revoked or replaced while it waited.
        """
        with self._one_of(site) as over:
            clock, pause = asyncio.get_running_loop().time, FIRST_SECONDS
            end = clock() + min(HOLD_SECONDS, longest)
            while True:
                answer = await ask()
                empty = answer.status == 200 and answer.content_length == 0
                if not empty or self._ended or clock() + pause > end:
                    return answer
                answer.release()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), pause)
                    return answer
                await still_welcome()
                pause = min(2 * pause, LONGEST_SECONDS)

    @contextlib.contextmanager
    def _one_of(self, site: str) -> Iterator[asyncio.Event]:
        """Takes the place of the site's request before it."""
        over = asyncio.Event()
        before = self._held.get(site)
        if before:
            before.set()
        self._held[site] = over
        try:
            yield over
        finally:
            if self._held.get(site) is over:
                del self._held[site]

"""How much a site may ask for, and that it asks for each thing once."""

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable

from fedsurg.relay import FLEET_PATHS, PUSH_MESSAGES, PUSH_OBJECT, RefusedError

SMALL = 16 << 10  # a request without content: ids and a key, under 1 KiB
MESSAGE = 1 << 20  # a message without its content, and the tree of its objects: 100 bytes for each
BODY_SECONDS = 600.0  # the largest body at 300 kbit/s; slower is no line for this

Clock = Callable[[], float]


def body_limits(object_bytes: int) -> dict[str, int]:
    """The longest body of each path. Flower cuts arrays into objects of 5 MiB; other records are one object each."""
    return dict.fromkeys(FLEET_PATHS, SMALL) | {PUSH_MESSAGES: MESSAGE, PUSH_OBJECT: object_bytes + SMALL}


class Buckets:
    """A token bucket for each site.

    Args:
        per_second: tokens that come back.
        burst: tokens of a full bucket.
    """

    def __init__(self, per_second: float, burst: float, clock: Clock = time.monotonic) -> None:
        self._rate, self._burst, self._clock = per_second, burst, clock
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, site: str, tokens: float = 1.0) -> bool:
        """Take them, if the bucket is not empty. It may go below zero, so that one large request is possible."""
        now = self._clock()
        left, since = self._left.get(site, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        allowed = left > 0
        self._left[site] = (left - tokens if allowed else left, now)
        return allowed


class Seen:
    """Signed timestamps that were used. A SuperNode signs one for each try, so a second use is somebody else's.

    The timestamp is kept, not the signature: of one ECDSA signature anybody can make a second that is as good.

    Args:
        seconds: for which Flower takes a timestamp.
    """

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._used: defaultdict[str, OrderedDict[str, float]] = defaultdict(OrderedDict)

    def use(self, site: str, timestamp: str) -> bool:
        """False: it was used before."""
        now, used = self._clock(), self._used[site]
        while used and next(iter(used.values())) < now - self._seconds:
            used.popitem(last=False)
        if timestamp in used:
            return False
        used[timestamp] = now
        return True


class Allowance:
    """What each site may still ask for.

    Args:
        requests_per_second: on average; ten times as many at once.
        upload_bytes_per_minute: of bodies.
    """

    def __init__(
        self, requests_per_second: float, upload_bytes_per_minute: float, clock: Clock = time.monotonic
    ) -> None:
        self._requests = Buckets(requests_per_second, 10 * requests_per_second, clock)
        self._bytes = Buckets(upload_bytes_per_minute / 60, upload_bytes_per_minute, clock)

    def require_request(self, site: str) -> None:
        """One more request.

        Raises:
            RefusedError: too many; the SuperNode tries again.
        """
        if not self._requests.take(site) or not self._bytes.take(site, 0):
            raise RefusedError(503, "rate", f"{site} asks for more than its share; it is let in again by itself")

    def count_bytes(self, site: str, count: int) -> None:
        """What a request had; if it was too much, the next one waits."""
        self._bytes.take(site, count)

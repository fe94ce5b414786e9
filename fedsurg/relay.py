"""The core of both ends' relays: read a request within limits, pass it on, pass the answer back.

    SuperNode -> connection (hospital) -> gateway (coordinator) -> SuperLink

Each end adds its own policy between the steps. Nothing is passed on but what is listed here: paths, headers, statuses.
"""

import asyncio
import contextlib
import io
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

PREFIX = "/v1/fleet/"

# What a SuperNode with a key of its own needs, and no more: it neither registers nor removes itself.
GET_FAB, PULL_MESSAGES, PUSH_MESSAGES, PUSH_OBJECT, PULL_OBJECT = (
    f"{PREFIX}{name}" for name in ("get-fab", "pull-messages", "push-messages", "push-object", "pull-object")
)
ACTIVATE = f"{PREFIX}activate-node"
FLEET_PATHS = frozenset(
    {ACTIVATE, GET_FAB, PULL_MESSAGES, PUSH_MESSAGES, PUSH_OBJECT, PULL_OBJECT}
    | {f"{PREFIX}{name}" for name in ("confirm-message-received", "deactivate-node", "get-run", "send-node-heartbeat")}
)
HELLO = "/hello"  # the gateway's own page: it answers, nothing is passed on

MEDIA_TYPE = "application/protobuf"
REFUSED = "fedsurg-refused"  # header of an answer that an end gives itself; the value is the refusal's reason
REFUSAL_CODE = 94430  # in the body, where Flower's own errors have their numbers below 10,000

REQUEST_HEADERS = frozenset({"accept", "content-type"})
ANSWER_HEADERS = frozenset({"content-type", "retry-after", REFUSED})
FLOWER = "flwr-"  # how the names of Flower's own headers begin

STALL_SECONDS = 30.0  # without one byte; Flower's own clients give up after as long
CHUNK = 64 << 10


class RefusedError(Exception):
    """A request or an answer that is not passed on.

    Args:
        status: of HTTP. Flower's SuperNode tries again after 502, 503 and 504; stops after 401; ignores the message or
            run after 403; gives up what it was doing after any other.
        reason: one word for logs and counters.
        why: one line for a person.
    """

    def __init__(self, status: int, reason: str, why: str) -> None:
        super().__init__(why)
        self.status, self.reason, self.why = status, reason, why

    def response(self) -> web.Response:
        """The answer, in the form of Flower's own errors, so that a SuperNode prints the line."""
        headers = {REFUSED: self.reason} | ({"Retry-After": "2"} if self.status == 503 else {})
        return web.json_response({"code": REFUSAL_CODE, "detail": self.why}, status=self.status, headers=headers)


def require_fleet(request: web.BaseRequest) -> str:
    """The path of a request that may be passed on, as it stands on the wire: no query, no other spelling.

    Raises:
        RefusedError: another path, method or form, or a header twice: one end would check one, the next use the other.
    """
    path = request.raw_path
    if path not in FLEET_PATHS or request.method != "POST":
        raise RefusedError(404, "path", f"{request.method} {path[:100]} is not for SuperNodes")
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise RefusedError(415, "form", f"the body has to be {MEDIA_TYPE}")
    if "Content-Encoding" in request.headers:
        raise RefusedError(415, "form", "a compressed body is not taken")
    for name in passed_headers(request.headers, REQUEST_HEADERS):
        if len(request.headers.getall(name)) > 1:
            raise RefusedError(400, "form", f"the header {name} comes more than once")
    return path


async def body_chunks(
    request: web.BaseRequest, limit: int, seconds: float, stall: float = STALL_SECONDS
) -> AsyncIterator[bytes]:
    """A request's body as it comes.

    Args:
        request: whose body was not read yet.
        limit: bytes, whatever the header says or does not say.
        seconds: for the whole body.
        stall: seconds without a byte.

    Raises:
        RefusedError: too long, too slow, or broken off.
    """
    too_long = RefusedError(413, "size", f"{request.raw_path}: more than {limit:,} bytes")
    if (request.content_length or 0) > limit:
        raise too_long
    clock, count = asyncio.get_running_loop().time, 0
    end = clock() + seconds
    try:
        while True:
            async with asyncio.timeout(min(stall, max(0.0, end - clock()))):
                chunk = await request.content.readany()
            if not chunk:
                return
            count += len(chunk)
            if count > limit:
                raise too_long
            yield chunk
    except TimeoutError as problem:
        raise RefusedError(408, "slow", f"{request.raw_path}: {count:,} bytes came, then too little") from problem
    except (web.RequestPayloadError, aiohttp.ClientPayloadError, ConnectionError) as problem:
        raise RefusedError(400, "broken", f"{request.raw_path}: the body broke off") from problem


@dataclass
class Traffic:
    """Bytes of bodies that went through one exchange, as they go."""

    received: int = 0  # from whoever asked
    sent: int = 0  # to whoever asked


def hang_up(transport: asyncio.BaseTransport | None) -> None:
    """End a connection at once, whatever is still to be sent."""
    with contextlib.suppress(AttributeError):  # of asyncio's TLS transport, when the connection is gone already
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()


class Relay:
    """Passes requests on to one server.

    Args:
        base: `http://127.0.0.1:9444`, without a path.
        connections: that may be open at a time.
        keepalive: seconds for which an idle one is kept: less than at the other end, or a request meets a closed one.
        proxy: to go through, if any.
        proxy_headers: for its CONNECT request.
    """

    def __init__(
        self,
        base: str,
        *,
        connections: int = 100,
        keepalive: float = 20.0,
        proxy: str | None = None,
        proxy_headers: Mapping[str, str] | None = None,
    ) -> None:
        self.base = base
        self._proxy: dict[str, Any] = {"proxy": proxy, "proxy_headers": proxy_headers} if proxy else {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=keepalive),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=STALL_SECONDS * 2),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
        )

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterator[bytes] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> aiohttp.ClientResponse:
        """The answer, its body not yet read. It has to be closed.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: there is none.
            RefusedError: it is a redirection, which could send signed headers elsewhere.
        """
        answer = await self._session.request(
            method,
            self.base + path,
            headers=headers,
            data=io.BytesIO(body) if isinstance(body, bytes) else body,  # written in pieces
            ssl=context or True,
            allow_redirects=False,
            **self._proxy,
        )
        if 300 <= answer.status < 400:
            answer.close()
            raise RefusedError(502, "redirect", f"{path}: answered with a redirection, which is not followed")
        return answer

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


def passed_headers(headers: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    """Those that are listed, and Flower's own, by their names in small letters."""
    found = {key.lower(): value for key, value in headers.items()}
    return {key: value for key, value in found.items() if key in names or key.startswith(FLOWER)}


async def read_answer(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """A whole answer.

    Raises:
        RefusedError: it is longer than `limit` bytes.
        aiohttp.ClientError, OSError, TimeoutError: it broke off.
    """
    content = bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK):
        content += chunk
        if len(content) > limit:
            raise RefusedError(502, "size", f"an answer of more than {limit:,} bytes")
    return bytes(content)


async def pass_back(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, traffic: Traffic, limit: int
) -> web.StreamResponse:
    """Send an answer on as it comes. If it breaks off, so does the connection of whoever asked: no half is a whole.

    Raises:
        RefusedError: it says that it is longer than `limit`; nothing was sent.
        ConnectionError: it broke off, or grew longer than `limit`.
    """
    if (answer.content_length or 0) > limit:
        raise RefusedError(502, "size", f"an answer of {answer.content_length:,} bytes")
    response = web.StreamResponse(status=answer.status, headers=passed_headers(answer.headers, ANSWER_HEADERS))
    response.content_length = answer.content_length
    await response.prepare(request)
    try:
        async for chunk in answer.content.iter_chunked(CHUNK):
            traffic.sent += len(chunk)
            if traffic.sent > limit:
                raise ConnectionResetError(f"an answer of more than {limit:,} bytes")
            await response.write(chunk)
    except (aiohttp.ClientError, TimeoutError) as problem:
        raise ConnectionResetError(f"the answer broke off: {problem}") from problem
    await response.write_eof()
    return response

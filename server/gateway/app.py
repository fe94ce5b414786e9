"""The gateway itself: the steps of one request."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from aiohttp import web

from fedsurg.joining.clock import stamp
from fedsurg.relay import (
    ACTIVATE,
    HELLO,
    PULL_MESSAGES,
    REQUEST_HEADERS,
    RefusedError,
    Relay,
    Traffic,
    body_chunks,
    hang_up,
    pass_back,
    passed_headers,
    read_answer,
    require_fleet,
)
from fedsurg.request_log import Entry, RequestLog, recorded
from fedsurg.tls import Fresh, server_context
from server.federation_file import FederationFile
from server.gateway.claims import WINDOW, NodeIds, header_key, read_claims, seconds_left, timestamp_of
from server.gateway.door import Door, Visitor
from server.gateway.hold import Hold
from server.gateway.limits import BODY_SECONDS, SMALL, Allowance, Seen, body_limits
from server.gateway.members import Register
from server.gateway.metrics import Meters
from server.gateway.notices import Notices
from server.layout import AUTHORITY, GATEWAY, RUN

LOG = f"{RUN}/logs/requests.jsonl"
WATCH_SECONDS = 1.0  # from a revocation to the end of the site's idle connections; its requests are refused at once
SUPERLINK_IDLE_SECONDS = 2.0  # the SuperLink closes after five; who closes first is not surprised
STOP_SECONDS = 5.0  # for requests in progress when the gateway is stopped
ANSWER_BYTES = 1 << 30  # the SuperLink is ours; this only bounds what a broken one could make us send
END_CONNECTION = frozenset({400, 401, 408, 413})  # who was refused so shall not go on; what is left is not read


class Gateway:
    """Answers requests of sites.

    Args:
        folder: the coordinator's.
        settings: of its federation.toml.
        now: the time; for tests.
    """

    def __init__(
        self, folder: Path, settings: FederationFile, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        limits = settings.gateway
        self.notices, self.meters = Notices(folder), Meters(folder, now)
        self._now = now
        self._register = Register(folder, now, lambda problem: self.notices.say(str(problem)))
        self._log = RequestLog(folder / LOG)
        self._allowance = Allowance(limits.requests_per_second, limits.upload_mib_per_minute << 20)
        self._bodies = body_limits(limits.object_mib << 20)
        self._seen, self._nodes, self._hold = Seen(WINDOW), NodeIds(), Hold()
        context = Fresh(
            folder / GATEWAY,
            lambda: server_context(folder / GATEWAY, folder / AUTHORITY),
            lambda problem: self.notices.say(str(problem)),
        )
        self._superlink = Relay(f"http://127.0.0.1:{settings.ports.superlink}", keepalive=SUPERLINK_IDLE_SECONDS)
        self.door = Door(self.handle, context.get, limits.connections_per_site, self._turned_away)
        self.meters.watch_connections(lambda: [visitor.site for visitor in self.door.visitors])

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, and write its line."""
        visitor, traffic = self.door.visitor(request), Traffic()
        entry = Entry(visitor.site, request.raw_path[:100], address=visitor.address)
        with contextlib.suppress(ConnectionError), recorded(entry, traffic, self._log.write, self.meters.count):
            try:
                response = await self._answer(request, visitor, traffic)
                entry.status = response.status
            except RefusedError as refusal:
                response = self._refuse(refusal, visitor, entry, traffic)
            except (ConnectionError, asyncio.CancelledError):
                hang_up(visitor.transport)
                raise
            except Exception as problem:
                self.notices.say(f"unexpected {type(problem).__name__} in {entry.path}: {problem}")
                response = self._refuse(RefusedError(500, "error", "the gateway failed"), visitor, entry, traffic)
            return response
        return web.Response()  # reaches nobody

    async def watch(self) -> None:
        """Close connections of those who must not stay, until cancelled."""
        while True:
            for visitor in self.door.visitors:
                if self._register.must_go(visitor):
                    hang_up(visitor.transport)
            await asyncio.sleep(WATCH_SECONDS)

    async def close(self) -> None:
        """Let requests in progress end."""
        self._hold.end()
        await self.door.close(STOP_SECONDS)
        await self._superlink.close()
        await self.notices.settle()
        self._log.close()

    async def _answer(self, request: web.BaseRequest, visitor: Visitor, traffic: Traffic) -> web.StreamResponse:
        """Verify a request and pass it on.

        1. Its connection is that of an admitted site, at this moment: `Register.member`.
        2. The site asks for no more than its share.
        3. It is one of the requests that a SuperNode makes.
        4. Its header has the site's node key and a time that is now.
        5. Its body is no longer than such a body is, and comes.
        6. Its body names the site's own node as its author: `read_claims`, `NodeIds.require`.
        7. Its signed time was not used before.
        8. The SuperLink answers; it verifies the signature, and that the node is the key's. A site that asks for
           messages when there is none is held until there is one: `Hold`.

        Raises:
            RefusedError: the step that failed.
            ConnectionError: the site went away, or the SuperLink did within its answer.
        """
        site = visitor.site
        # 1.
        member = await self._register.member(visitor)
        # 2.
        self._allowance.require_request(site)
        # 3.
        if (request.method, request.raw_path) == ("GET", HELLO):
            return self._hello(visitor)
        path = require_fleet(request)
        # 4.
        key = header_key(request.headers, member.node_public_key or "", site)
        timestamp = timestamp_of(request.headers, site, self._now())
        # 5.
        body = await self._body(request, path, site, traffic)
        # 6.
        node_id = read_claims(path, body, key, site)
        self._nodes.require(site, node_id)
        # 7.
        if not self._seen.use(site, timestamp):
            raise RefusedError(503, "replayed", f"{site} sent a request a second time; a new one has to be signed anew")
        # 8.
        return await self._ask(request, path, body, (visitor, node_id), traffic)

    async def _body(self, request: web.BaseRequest, path: str, site: str, traffic: Traffic) -> bytes:
        body = bytearray()
        try:
            async for chunk in body_chunks(request, self._bodies[path], BODY_SECONDS):
                body += chunk
        finally:
            traffic.received = len(body)
            self._allowance.count_bytes(site, len(body))
        return bytes(body)

    async def _ask(
        self, request: web.BaseRequest, path: str, body: bytes, author: tuple[Visitor, int], traffic: Traffic
    ) -> web.StreamResponse:
        visitor, node_id = author
        site, headers = visitor.site, passed_headers(request.headers, REQUEST_HEADERS)

        async def ask() -> aiohttp.ClientResponse:
            try:
                return await self._superlink.ask("POST", path, headers, body)
            except (aiohttp.ClientError, OSError, TimeoutError) as problem:
                raise RefusedError(
                    503, "superlink", "the SuperLink does not answer; it is being started again"
                ) from problem

        async def still_welcome() -> None:
            try:
                await self._register.member(visitor)
            except RefusedError as refusal:  # perhaps it only has a newer certificate: it may come again and is told
                raise ConnectionResetError(refusal.why) from refusal

        if path == PULL_MESSAGES:
            longest = seconds_left(request.headers, self._now())
            answer = await self._hold.answer(site, ask, still_welcome, longest)
        else:
            answer = await ask()
        async with answer:
            if answer.status == 500:  # a SuperNode would end its work for it; a busy database is well a moment later
                raise RefusedError(503, "superlink", "the SuperLink failed at a request; it is asked again")
            learnt = await read_answer(answer, SMALL) if path == ACTIVATE and answer.status == 200 else None
            self._nodes.learn(site, path, node_id, answer.status, learnt or b"")
            if answer.status == 401:
                self.notices.refused(site, "node", f"the SuperLink knows no node {node_id} of {site}", "the SuperLink")
            if learnt is None:
                return await pass_back(request, answer, traffic, ANSWER_BYTES)
            traffic.sent = len(learnt)
            return web.Response(body=learnt, content_type=answer.content_type)

    def _hello(self, visitor: Visitor) -> web.Response:
        """For a hospital that wants to know whether it gets this far."""
        ends = visitor.certificate.not_valid_after_utc
        facts = {"site": visitor.site, "certificate_ends": stamp(ends), "time": self._now().timestamp()}
        return web.json_response(facts)

    def _refuse(self, refusal: RefusedError, visitor: Visitor, entry: Entry, traffic: Traffic) -> web.Response:
        entry.status, entry.reason, entry.why = refusal.status, refusal.reason, refusal.why
        self.notices.refused(visitor.site, refusal.reason, refusal.why, visitor.address)
        response = refusal.response()
        traffic.sent = len(response.body) if isinstance(response.body, bytes) else 0
        if refusal.status in END_CONNECTION:
            response.force_close()
        return response

    def _turned_away(self, address: str, reason: str, why: str) -> None:
        """Of a connection that got no further than the door."""
        entry = Entry("", "", reason=reason, why=why, address=address)
        self.notices.refused("", reason, why, address)
        self._log.write(entry)
        self.meters.count(entry)

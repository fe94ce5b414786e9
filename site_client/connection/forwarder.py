"""The steps of one request of the SuperNode, and the process that answers them."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar

import aiohttp
from aiohttp import web

from fedsurg.errors import FedsurgError, one_line
from fedsurg.files import write_atomic
from fedsurg.joining.clock import now, stamp
from fedsurg.relay import (
    GET_FAB,
    REFUSED,
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
from fedsurg.tls import Fresh
from site_client.connection.bundle import BUNDLE_BYTES, require_own_bundle
from site_client.connection.explain import explained
from site_client.connection.route import Route, Shown
from site_client.layout import CONNECTION, RUN

LOG = f"{RUN}/logs/connection.jsonl"
BODY_BYTES = 1 << 30  # an update's largest object: the gateway knows better, this only stops what is out of hand
ANSWER_BYTES = 1 << 30  # likewise, of the model that comes
BODY_SECONDS = 3600.0
# A SuperNode waits 30 s for the beginning of an answer. While a long upload is under way it is told that it goes on.
WAIT_SECONDS = 10.0
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
STATUS_SECONDS = 5.0
REASON_LETTERS = 300  # of the gateway's reason, which goes to a terminal and into a file

Made = TypeVar("Made")


class Forwarder:
    """Passes requests of the SuperNode on to the gateway.

    Args:
        folder: the site's.
        route: to the gateway.
        identity: TLS with the site's certificate.
        bundle: SHA-256 (hex) of the app that may run here.
        wait: seconds between two signs of life during a long upload.
    """

    def __init__(
        self,
        folder: Path,
        route: Route,
        identity: Fresh[Shown],
        bundle: str,
        *,
        wait: float = WAIT_SECONDS,
    ) -> None:
        self._route, self._identity, self._bundle, self._wait = route, identity, bundle, wait
        self._log = RequestLog(folder / LOG)
        self._status = _Status(folder / CONNECTION, str(route))
        self._relay: Relay = route.relay()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, and write its line."""
        traffic, entry = Traffic(), Entry(self._route.membership.site, request.raw_path[:100])
        with suppress(ConnectionError), recorded(entry, traffic, self._log.write, self._status.count):
            try:
                response = await self._answer(request, traffic)
                entry.status = response.status
            except RefusedError as refusal:
                response = refusal.response()
                entry.status, entry.reason, entry.why = refusal.status, refusal.reason, refusal.why
            return response
        hang_up(request.transport)
        return web.Response()  # reaches nobody

    async def close(self) -> None:
        """Close all connections."""
        await self._relay.close()
        self._log.close()
        self._status.write()

    async def _answer(self, request: web.BaseRequest, traffic: Traffic) -> web.StreamResponse:
        """Pass a request on.

        1. It is one of the requests that a SuperNode makes.
        2. It goes to the gateway: its body as it comes, its answer likewise, nothing is kept. Of successes there is one
           status alone, so that none brings an app past step 3.
        3. An answer that brings an app is held back until it is known to be this installation's own.

        Raises:
            RefusedError: the step that failed.
            ConnectionError: the SuperNode went away, or the gateway did within its answer.
        """
        # 1.
        path = require_fleet(request)
        # 2.
        headers = passed_headers(request.headers, REQUEST_HEADERS)
        if request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
        answer = await self._while_waiting(request, self._ask(request, path, headers, traffic))
        async with answer:
            if 200 < answer.status < 400:  # what asked takes it for a success, and Flower has no such answer
                raise RefusedError(502, "form", f"{path}: the gateway answered with status {answer.status}")
            if answer.status == 200 and path == GET_FAB:
                # 3.
                content = await self._whole(answer)
                require_own_bundle(content, self._bundle)
                traffic.sent = len(content)
                return web.Response(body=content, content_type=answer.content_type)
            if REFUSED in answer.headers:
                await self._refused(answer)
            return await pass_back(request, answer, traffic, ANSWER_BYTES)

    async def _ask(
        self, request: web.BaseRequest, path: str, headers: dict[str, str], traffic: Traffic
    ) -> aiohttp.ClientResponse:
        refused: list[RefusedError] = []
        try:
            body = _counted(body_chunks(request, BODY_BYTES, BODY_SECONDS), traffic, refused)
            return await self._relay.ask("POST", path, headers, body, self._identity.get().context)
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            if refused:
                raise refused[0] from problem
            raise self._unreachable(problem) from problem

    async def _whole(self, answer: aiohttp.ClientResponse) -> bytes:
        try:
            return await read_answer(answer, BUNDLE_BYTES)
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            raise self._unreachable(problem) from problem

    def _unreachable(self, problem: Exception) -> RefusedError:
        return RefusedError(503, "gateway", explained(problem, self._route, now(), self._identity.get().ends))

    async def _refused(self, answer: aiohttp.ClientResponse) -> NoReturn:
        """The gateway's own refusal, with its line."""
        content = await self._whole(answer)
        reason = one_line(answer.headers[REFUSED], 40)
        try:
            why = one_line(str(json.loads(content)["detail"]), REASON_LETTERS)
        except (ValueError, KeyError, TypeError, RecursionError):
            why = "no reason was given"
        raise RefusedError(answer.status, reason, f"the gateway refused: {why}")

    async def _while_waiting(self, request: web.BaseRequest, work: Awaitable[Made]) -> Made:
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=self._wait))[0]:
                if request.transport:
                    request.transport.write(PROCESSING)
            return task.result()
        finally:
            task.cancel()


async def _counted(chunks: AsyncIterator[bytes], traffic: Traffic, refused: list[RefusedError]) -> AsyncIterator[bytes]:
    """The chunks; a refusal within them is kept, as the HTTP client shows only that its body failed."""
    try:
        async for chunk in chunks:
            traffic.received += len(chunk)
            yield chunk
    except RefusedError as refusal:
        refused.append(refusal)
        raise


class _Status:
    """How the connection does, for `fedsurg site status`, and one line on standard error when that changes."""

    def __init__(self, path: Path, route: str) -> None:
        self._path, self._written = path, 0.0
        self._why: str | None = None
        self._facts: dict[str, str | int] = {"route": route, "state": "waiting", "why": "", "since": stamp(now())}
        self._facts |= {"bytes_sent": 0, "bytes_received": 0}
        self.write()

    def count(self, entry: Entry) -> None:
        """One request went through, or did not."""
        self._facts["bytes_sent"] = int(self._facts["bytes_sent"]) + entry.bytes_in
        self._facts["bytes_received"] = int(self._facts["bytes_received"]) + entry.bytes_out
        if entry.why != self._why and entry.reason != "broken":
            self._why = entry.why
            self._facts |= {"state": "refused" if entry.why else "ok", "why": entry.why, "since": stamp(now())}
            say(entry.why or f"connected to {self._facts['route']}")
            self.write()
        elif time.monotonic() - self._written > STATUS_SECONDS:
            self.write()

    def write(self) -> None:
        """The file; a full disk stops nothing here."""
        self._written = time.monotonic()
        with suppress(FedsurgError):
            write_atomic(self._path, json.dumps(self._facts | {"updated": stamp(now())}) + "\n")


def say(line: str) -> None:
    """One line on standard error, which the supervisor keeps."""
    sys.stderr.write(f"{stamp(now())} {line}\n")
    sys.stderr.flush()

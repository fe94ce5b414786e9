"""The core of a relay, between a server and a client of the tests' own."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fedsurg.errors import JoiningError
from fedsurg.relay import RefusedError, Relay, Traffic, body_chunks, pass_back, passed_headers, read_answer
from fedsurg.request_log import Entry, RequestLog
from fedsurg.tls import Fresh, server_context

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    server = web.Server(handler, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await server.shutdown(0.1)


async def through(upstream: Handler, limit: int = 1 << 20) -> bytes:
    """What a client gets that asks a relay in front of `upstream`."""
    async with serving(upstream) as base:
        relay = Relay(base)

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            try:
                async with await relay.ask("GET", "/") as answer:
                    return await pass_back(request, answer, Traffic(), limit)
            except RefusedError as refusal:
                return refusal.response()
            except ConnectionError:
                assert request.transport
                request.transport.abort()
                return web.Response()

        try:
            async with serving(handle) as front, aiohttp.ClientSession() as session, session.get(front) as answer:
                return await answer.read()
        finally:
            await relay.close()


def test_an_answer_goes_back_as_it_is() -> None:
    async def upstream(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"x" * 300_000)

    assert asyncio.run(through(upstream)) == b"x" * 300_000


@pytest.mark.parametrize("declared", [True, False])
def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(declared: bool) -> None:
    async def upstream(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100000"} if declared else {})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport
        request.transport.close()
        return response

    with pytest.raises(aiohttp.ClientError):
        asyncio.run(through(upstream))


def test_an_answer_that_is_too_long_is_refused_before_or_broken_off_within() -> None:
    async def declared(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(2000))

    assert json.loads(asyncio.run(through(declared, 1000)))["detail"] == "an answer of 2,000 bytes"

    async def chunked(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(20):
            await response.write(bytes(100))
        return response

    with pytest.raises(aiohttp.ClientError):
        asyncio.run(through(chunked, 1000))


def test_a_redirection_is_not_followed() -> None:
    async def upstream(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"})

    assert "redirection" in json.loads(asyncio.run(through(upstream)))["detail"]


def test_a_body_is_counted_whatever_its_header_says() -> None:
    found: list[Any] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            found.append(sum([len(chunk) async for chunk in body_chunks(request, 1000, 5.0)]))
        except RefusedError as refusal:
            found.append(refusal.status)
            return refusal.response()
        return web.Response()

    async def chunks(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 100):
            yield bytes(100)

    async def whole() -> None:
        async with serving(handle) as base, aiohttp.ClientSession() as session:
            for data in (bytes(1000), bytes(1001), chunks(1000), chunks(1100)):
                async with session.post(base, data=data) as answer:
                    await answer.read()

    asyncio.run(whole())
    assert found == [1000, 413, 1000, 413]


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return web.Response(text=str([chunk async for chunk in body_chunks(request, 1000, 0.2)]))
        except RefusedError as refusal:
            return refusal.response()

    async def whole() -> bytes:
        async with serving(handle) as base:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
            line = await reader.readline()
            writer.close()
            return line

    assert asyncio.run(whole()).startswith(b"HTTP/1.1 408")


def test_a_long_answer_is_not_read_whole() -> None:
    async def upstream(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(5000))

    async def whole() -> None:
        async with serving(upstream) as base:
            relay = Relay(base)
            try:
                async with await relay.ask("GET", "/") as answer:
                    with pytest.raises(RefusedError, match="more than 1,000 bytes"):
                        await read_answer(answer, 1000)
            finally:
                await relay.close()

    asyncio.run(whole())


def test_which_headers_pass() -> None:
    given = {"Flwr-Signature": "s", "flwr-timestamp": "t", "Accept": "a", "Cookie": "c", "Authorization": "b"}
    passed = {"flwr-signature": "s", "flwr-timestamp": "t", "accept": "a"}
    assert passed_headers(given, frozenset({"accept"})) == passed


def test_a_refusal_has_the_form_of_flowers_errors() -> None:
    from flwr.supercore.error import FlowerError

    response = RefusedError(503, "rate", "too much").response()
    error = FlowerError.from_json(response.text)
    assert error
    assert (error.message, response.status, response.headers["fedsurg-refused"]) == ("too much", 503, "rate")


def test_a_file_is_read_again_when_it_was_replaced(tmp_path: Path) -> None:
    path, told = tmp_path / "file", list[JoiningError]()

    def make() -> str:
        text = path.read_text()
        if text == "damaged":
            raise JoiningError("damaged")
        return text

    path.write_text("one")
    fresh = Fresh(path, make, told.append)
    assert fresh.get() == "one"
    for text, expected in (("two", "two"), ("damaged", "two"), ("three", "three")):
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").replace(path)
        assert (fresh.get(), fresh.get()) == (expected, expected)
    assert [str(problem) for problem in told] == ["damaged"]
    path.unlink()
    assert fresh.get() == "three"


def test_a_damaged_certificate_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "gateway.pem").write_text("nothing")
    with pytest.raises(JoiningError, match=r"gateway.pem: cannot be used for TLS .*; restore it from a backup"):
        server_context(tmp_path / "gateway.pem")


def test_the_log_is_rotated(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "logs" / "requests.jsonl", rotate_bytes=400)
    for number in range(5):
        log.write(Entry("hospital-a", f"/{number}", 200, bytes_in=number))
    log.close()
    files = sorted((tmp_path / "logs").iterdir())
    assert len(files) > 1
    lines = [json.loads(line) for file in reversed(files) for line in file.read_text().splitlines()]
    assert [line["bytes_in"] for line in lines] == [0, 1, 2, 3, 4]
    assert set(lines[0]) == {"time", "site", "path", "status", "bytes_in", "bytes_out", "ms"}
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_full_disk_ends_no_service_as_it_closes_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RequestLog(tmp_path / "requests.jsonl")

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log._handler, "flush", full)
    log.close()

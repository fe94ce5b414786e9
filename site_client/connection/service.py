"""The connection as a process: a port of this machine, until it is told to stop."""

import asyncio
import signal
from pathlib import Path

from aiohttp import web

from fedsurg.errors import JoiningError
from fedsurg.tls import server_context
from site_client.connection.forwarder import Forwarder, say
from site_client.connection.route import route_of, shown_identity
from site_client.layout import RUN
from site_client.loopback import HOST, Loopback, make_loopback
from site_client.site_folder import read_membership

STOP_SECONDS = 5.0  # for requests in progress


async def serve(folder: Path, port: int, bundle: str) -> None:
    """Pass requests that come to `port` of this machine on to the gateway, until SIGTERM or SIGINT.

    Args:
        folder: the site's.
        port: on 127.0.0.1.
        bundle: SHA-256 (hex) of the app that may run here.

    Raises:
        JoiningError: the site has not joined, a file is damaged, or the port is taken.
    """
    route = route_of(read_membership(folder))
    identity = shown_identity(folder, lambda problem: say(str(problem)))
    run = folder / RUN
    pem = Loopback.of(run).pem
    if not pem.exists():
        run.mkdir(mode=0o700, exist_ok=True)
        make_loopback(run)
    loop, stop, context = asyncio.get_running_loop(), asyncio.Event(), server_context(pem)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    forwarder = Forwarder(folder, route, identity, bundle)
    server = web.Server(forwarder.handle, handler_cancellation=True, auto_decompress=False, access_log=None)
    try:
        listening = await loop.create_server(server, HOST, port, ssl=context)
    except OSError as problem:
        await forwarder.close()
        raise JoiningError(f"port {port} of this machine is taken ({problem.strerror}); choose another") from problem
    say(f"connection listens on {HOST}:{port}, for {route}")
    await stop.wait()
    listening.close()
    await server.shutdown(STOP_SECONDS)
    await forwarder.close()

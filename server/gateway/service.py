"""The gateway as a process: its two ports, until it is told to stop."""

import asyncio
import signal
from pathlib import Path
from typing import Any

from aiohttp import web

from fedsurg.joining.folders import require_owner_only
from server.federation_file import read_federation_file
from server.gateway.app import Gateway
from server.gateway.door import listen

LOOPBACK = "127.0.0.1"


async def serve(folder: Path) -> None:
    """Run the gateway of a coordinator's folder until SIGTERM or SIGINT.

    Raises:
        JoiningError: the folder or a file in it cannot be used, or a port is taken; nothing is listened on then.
    """
    settings = read_federation_file(folder)
    require_owner_only(folder)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with (
        listen(settings.gateway.listen, settings.port) as public,
        listen(LOOPBACK, settings.ports.metrics) as private,
    ):
        gateway = Gateway(folder, settings)
        metrics = web.Server(gateway.meters.handle, access_log=None)
        pages = await loop.create_server(metrics, sock=private)
        tasks = [asyncio.create_task(gateway.door.serve(public)), asyncio.create_task(gateway.watch())]
        gateway.notices.say(
            f"gateway listens for {settings.address} on port {settings.port}, in front of "
            f"{LOOPBACK}:{settings.ports.superlink}; metrics at http://{LOOPBACK}:{settings.ports.metrics}/metrics"
        )
        stopped: asyncio.Task[Any] = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        pages.close()
        await gateway.close()
        await metrics.shutdown(1)
        for task in done:
            task.result()  # a failure of the door is one of the gateway

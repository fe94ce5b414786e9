"""`fedsurg server gateway`: the public port."""

from pathlib import Path

import click

from server.options import in_folder


@click.command(epilog="Example: fedsurg server gateway --dir coordinator")
@in_folder
def gateway(folder: Path) -> None:
    """Run the gateway in the foreground: mutual TLS with the hospitals, in front of the SuperLink of this machine.

    `fedsurg server start` runs it with all that belongs to it. Stop it with Ctrl-C or SIGTERM; requests in progress
    end first.

    Exit code 0: stopped. 4: the folder cannot be used, or a port is taken.
    """
    import asyncio

    from server.gateway.service import serve

    asyncio.run(serve(folder))

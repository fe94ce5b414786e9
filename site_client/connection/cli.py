"""`fedsurg site connection`: the way from the SuperNode of this machine to the gateway."""

from pathlib import Path

import click

from site_client.options import in_folder


@click.command(epilog="Example: fedsurg site connection --dir site --port 9446")
@in_folder
@click.option("--port", type=click.IntRange(1, 65535), required=True, help="Of this machine, for the SuperNode.")
def connection(folder: Path, port: int) -> None:
    """Run the connection in the foreground: from the SuperNode of this machine, by mutual TLS, to the gateway.

    `fedsurg site start` runs it with all that belongs to it. Stop it with Ctrl-C or SIGTERM.

    Exit code 0: stopped. 4: the folder cannot be used, the site has not joined, or the port is taken.
    """
    import asyncio

    from fedsurg.bundle import fedsurg_bundle
    from site_client.connection.service import serve

    asyncio.run(serve(folder, port, fedsurg_bundle().sha256))

"""`fedsurg site worker`: the process that holds data, model and private state."""

import logging
import signal
import sys
import threading
from pathlib import Path

import click

from site_client.options import in_folder


@click.command(epilog="Example: fedsurg site worker --dir site --threads 8")
@in_folder
@click.option("--key-file", type=click.Path(path_type=Path), help="Of the vault; default: the one it was made with.")
@click.option("--passphrase-file", type=click.Path(path_type=Path), help="Of the vault, where it has a passphrase.")
@click.option(
    "--device", envvar="FEDSURG_DEVICE", default="auto", show_default=True, help="Device to train on, such as cuda:1."
)
@click.option(
    "--threads", envvar="FEDSURG_THREADS", type=click.IntRange(0), default=0, help="Of torch. [default: one per core]"
)
def worker(folder: Path, key_file: Path | None, passphrase_file: Path | None, device: str, threads: int) -> None:
    """Answer the requests of approved studies, until Ctrl-C or SIGTERM; fedsurg site start runs this.

    Exit code 0: stopped. 1: the vault does not open, or no such device. 4: the site has not joined, its certificate has
    ended, or others may enter its folder. 5: policy.toml has a mistake. 6: a worker runs already, or cannot listen.
    """
    from fedsurg.bundle.generate import require_generated
    from site_client.vault_key import secret_of

    require_generated()
    from site_client.worker.server import Setup, run_worker

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s  %(levelname)s  %(message)s")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    run_worker(folder, Setup(secret_of(key_file, passphrase_file), device, threads), click.echo, stopped.wait)

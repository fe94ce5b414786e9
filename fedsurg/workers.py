"""Worker processes of a pool: Ctrl-C is their parent's, and none outlives it."""

import os
import signal
import threading
from multiprocessing import connection, parent_process


def stand_by() -> None:
    """In a worker, first of all: it leaves Ctrl-C to the parent, prints no traceback, and ends when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A killed parent cannot stop its workers: they would work on for nobody, beside those of a second start."""
    connection.wait([parent])
    os._exit(1)

"""Worker processes of a pool: how many; Ctrl-C and a closed terminal are their parent's, and none outlives it."""

import os
import signal
import threading
from multiprocessing import connection, parent_process


def usable_processors() -> int:
    """Processors that this process may run on: a container or `taskset` may leave it fewer than there are."""
    return len(os.sched_getaffinity(0))


def stand_by() -> None:
    """In a worker, first of all: signals are the parent's, there is no traceback, and it ends when the parent does."""
    for number in (signal.SIGINT, signal.SIGHUP):  # SIGTERM is how a pool ends its workers
        signal.signal(number, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A killed parent cannot stop its workers: they would work on for nobody, beside those of a second start."""
    connection.wait([parent])
    os._exit(1)

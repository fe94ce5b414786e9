"""Signals that would end a process on the spot, as the exception that Ctrl-C is: what was begun is tidied up."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ENDS = (signal.SIGTERM, signal.SIGHUP)  # an interrupt is a KeyboardInterrupt already


@contextlib.contextmanager
def stopped_by_exception() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread, unless somebody handles them already."""
    if threading.current_thread() is not threading.main_thread():  # only that one may handle signals
        yield
        return
    usual = [number for number in ENDS if signal.getsignal(number) == signal.SIG_DFL]
    for number in usual:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in usual:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one would stop the tidying
    raise KeyboardInterrupt

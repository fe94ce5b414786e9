"""Signals that would end a process on the spot: they become the exception that Ctrl-C is, or reach no worker."""

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


@contextlib.contextmanager
def no_interrupt() -> Iterator[None]:
    """Processes started here never see Ctrl-C or a closed terminal, from their first moment: they inherit the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

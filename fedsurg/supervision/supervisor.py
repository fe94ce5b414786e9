"""The supervisor: keeps the children of one folder running until it is told to stop."""

import contextlib
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from fedsurg.errors import SupervisionError
from fedsurg.supervision.child import MANY, Child, Watched
from fedsurg.supervision.lock import SupervisorLock
from fedsurg.supervision.status import Process, write_processes

READY_LOOK_S = 0.1  # between two looks whether a starting child is ready
LEASH_S = 5.0  # that a leash may take beyond its child's grace


class Supervisor:
    """Runs children in order, each when those before it are ready, and starts again what ends.

    A child that ends is started again after a pause that doubles, up to a cap, until it has run for a minute; one that
    keeps ending is told to the person in one line, once. Ctrl-C, SIGTERM and SIGHUP stop all in reverse order; a second
    one does not wait for graces.

    Args:
        folder: of lock, `status.json` and `logs/`; mode 700.
        children: in the order of their start.
        say: takes a line for the person.
        on_ready: called once, when all children are ready.
    """

    def __init__(
        self,
        folder: Path,
        children: Sequence[Child],
        say: Callable[[str], None] = lambda line: None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._say, self._on_ready = folder, say, on_ready
        self._children = [Watched(child, folder / "logs") for child in children]
        self._published: dict[str, Process] = {}
        self._stopping = self._all_ready = False
        self._woken, self._waking = socket.socketpair()
        self._waking.setblocking(False)

    def stop(self) -> None:
        """End `run`; from another thread or a signal handler."""
        self._stopping = True
        with contextlib.suppress(OSError):  # a full buffer wakes just as well
            self._waking.send(b".")

    def run(self) -> None:
        """Keep the children running until `stop`, or a signal.

        Raises:
            SupervisionError: another supervisor runs in the folder, it cannot be written, or a child ended in a way
                that no restart can mend; all children are ended then.
        """
        lock = SupervisorLock(self._folder)
        try:
            (self._folder / "logs").mkdir(exist_ok=True, mode=0o700)
            with self._heeding_signals():
                try:
                    while not self._stopping:
                        self._advance(lock.handle)
                        self._publish()
                        self._wait()
                    self._say("stopping")
                finally:
                    self._end_all()
        finally:
            lock.release()
            self._woken.close()
            self._waking.close()

    def _advance(self, lock: int) -> None:
        """Move every child one state on, where it is time."""
        now, before_ready = time.monotonic(), True
        for child in self._children:
            child.listen()
            if child.state in ("starting", "running") and child.ended():
                self._bury(child, now)
            elif child.state == "starting" and child.pid and child.wanted.ready():
                child.enter("running")
                self._say(f"{child.wanted.name}: running")
            elif child.state == "starting" and now - child.begun > child.wanted.ready_s:
                self._say(f"{child.wanted.name}: not ready within {child.wanted.ready_s:g} s, started again")
                child.end()
                child.wait(child.wanted.grace_s + LEASH_S)
                child.next_pause(now)
                child.enter("pausing")
            elif (child.state == "pausing" and now >= child.again_at) or (child.state == "waiting" and before_ready):
                child.start(lock)
            before_ready = before_ready and child.state == "running"
        if before_ready and not self._all_ready:
            self._all_ready = True
            self._on_ready()

    def _bury(self, child: Watched, now: float) -> None:
        """Say how a child ended, and decide on its next start."""
        name, code = child.wanted.name, child.last_exit
        how = f"ended by signal {code - 128}" if code and code > 128 else f"ended with exit code {code}"
        why = child.wanted.why()
        how += f" ({why})" if why else ""
        words = child.last_words()
        if code in child.wanted.hopeless:
            child.enter("stopped")
            raise SupervisionError(f"{name}: {words or how}; everything was stopped, see {child.log}")
        pause = child.next_pause(now)
        child.enter("pausing")
        if child.quick_ends < MANY:
            self._say(f"{name}: {how}, starts again in {pause:g} s")
        elif child.quick_ends == MANY:
            said = f" (last line: {words})" if words else ""
            self._say(
                f"{name}: {how}, {MANY} times in a row{said}; see {child.log}. It is tried again, at most every "
                f"{child.wanted.longest_pause_s:g} s, until it runs or you stop"
            )

    def _wait(self) -> None:
        """Until a child ends, a stop comes, or it is time for the next look."""
        now = time.monotonic()
        times = [child.again_at - now for child in self._children if child.state == "pausing"]
        times += [READY_LOOK_S for child in self._children if child.state == "starting"]
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            for child in self._children:
                if child.lifeline:
                    selector.register(child.lifeline, selectors.EVENT_READ)
            ready = selector.select(max(0.0, min(times)) if times else None)
        if any(key.fileobj is self._woken for key, _ in ready):
            self._woken.recv(4096)
        elif ready:
            time.sleep(0.01)  # a lifeline closes some moments before its leash is gone

    def _end_all(self) -> None:
        """Stop in reverse order, each with its grace."""
        for child in reversed(self._children):
            child.end()
            child.wait(child.wanted.grace_s + LEASH_S)
            child.enter("stopped")
            self._publish()

    def _publish(self) -> None:
        now = {child.wanted.name: child.process for child in self._children}
        if now != self._published:
            write_processes(self._folder, now)
            self._published = now

    @contextlib.contextmanager
    def _heeding_signals(self) -> Iterator[None]:
        """Stop on a signal; in another thread than the main one signals are someone else's."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def heed(_number: int, _frame: FrameType | None) -> None:
            for child in self._children if self._stopping else ():
                child.kill()
            self.stop()

        before: dict[signal.Signals, Any] = {}
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                before[number] = signal.signal(number, heed)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

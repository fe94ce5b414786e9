"""Children start in order, start again when they end, and never outlive their supervisor.

Every process that a test starts is its own and is gone at its end.
"""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedsurg.errors import FedsurgError, SupervisionError
from fedsurg.supervision import (
    Child,
    Process,
    Supervisor,
    await_leftovers,
    file_there,
    port_open,
    read_processes,
    require_free_port,
    stop,
    supervisor_of,
)
from fedsurg.supervision.child import Watched

Until = Callable[[Callable[[], Any], str], Any]
Alive = Callable[[int], bool]

WAIT_S = 30.0  # on a loaded machine


def python(code: str) -> list[str]:
    """A tiny child."""
    return [sys.executable, "-I", "-S", "-u", "-c", code]


SLEEPER = "import time\nprint('awake')\ntime.sleep(600)"
PARENT = "import subprocess, sys, time\nprint(subprocess.Popen(['sleep', '600']).pid)\ntime.sleep(600)"
STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf')\ntime.sleep(600)"


class Run:
    """A supervisor in a thread."""

    def __init__(self, folder: Path, children: tuple[Child, ...], until: Until) -> None:
        self.folder, self.said, self._until = folder, list[str](), until
        self.problem: FedsurgError | None = None
        self.ready = threading.Event()
        self.supervisor = Supervisor(folder, children, self.said.append, self.ready.set)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.supervisor.run()
        except FedsurgError as problem:
            self.problem = problem

    def process(self, name: str) -> Process:
        return read_processes(self.folder)[name]

    def in_state(self, name: str, state: str) -> Process:
        def look() -> Process | None:
            found = read_processes(self.folder).get(name)
            return found if found and found.state == state else None

        process: Process = self._until(look, f"{name} never became {state}: {self.said}")
        return process

    def log(self, name: str) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "logs" / f"{name}.log").read_text()
        return ""

    def end(self) -> None:
        self.supervisor.stop()
        self.join()

    def join(self) -> None:
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


@pytest.fixture
def supervise(tmp_path: Path, until: Until) -> Iterator[Callable[..., Run]]:
    """Runs children until the test ends."""
    runs: list[Run] = []

    def make(*children: Child, folder: str = "run") -> Run:
        runs.append(Run(tmp_path / folder, children, until))
        return runs[-1]

    yield make
    for run in runs:
        run.end()


# Signals as at a terminal, whatever the tests were started by: nohup and background shells ignore some.
PROGRAM = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from pathlib import Path
from fedsurg.supervision import Child, Supervisor
from fedsurg.errors import FedsurgError
children = [Child(**facts) for facts in json.loads(sys.argv[2])]
try:
    Supervisor(Path(sys.argv[1]), children, lambda line: print(line, flush=True)).run()
except FedsurgError as problem:
    print(problem, flush=True)
    sys.exit(problem.exit_code)
"""


@pytest.fixture
def in_process() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """A supervisor in a process of its own, to be killed."""
    started: list[subprocess.Popen[str]] = []

    def make(folder: Path, **commands: list[str]) -> "subprocess.Popen[str]":
        children = [{"name": name, "command": command} for name, command in commands.items()]
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), json.dumps(children)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield make
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=WAIT_S)


def test_children_start_in_order_and_stop_in_reverse(supervise: Callable[..., Any], tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    code = (
        "import signal, sys, time\n"
        f"say = lambda word: open({str(marks)!r}, 'a').write(word + ' {{}}\\n')\n"
        "def end(*_): say('end'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "time.sleep({wait}); open({file!r}, 'w').close(); say('ready'); time.sleep(600)"
    )
    children = [
        Child(name, python(code.format(name, wait=wait, file=str(tmp_path / name)).replace("{}", name)), ready=ready)
        for name, wait, ready in (
            ("first", 0.3, file_there(tmp_path / "first")),
            ("second", 0, file_there(tmp_path / "second")),
        )
    ]
    run = supervise(*children)
    assert run.ready.wait(30)
    run.end()
    assert marks.read_text().split("\n") == ["ready first", "ready second", "end second", "end first", ""]
    assert run.said == ["first: running", "second: running", "stopping"]
    assert run.process("first").last_exit == 0
    assert {process.state for process in read_processes(run.folder).values()} == {"stopped"}


def test_a_killed_child_comes_back(supervise: Callable[..., Any], until: Until) -> None:
    one = Child("one", python(SLEEPER), first_pause_s=0.05, why=lambda: "somebody killed it")
    run = supervise(one, Child("other", python(SLEEPER)))
    before, other = run.in_state("one", "running"), run.in_state("other", "running")
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: run.process("one").restarts == 1 and run.process("one").state == "running", "no restart")
    after = run.process("one")
    assert after.pid != before.pid
    assert after.last_exit == 128 + signal.SIGKILL
    assert run.process("other") == other
    assert "one: ended by signal 9 (somebody killed it), starts again in 0.05 s" in run.said


def test_a_killed_leash_takes_its_child_along(supervise: Callable[..., Any], until: Until, alive: Alive) -> None:
    run = supervise(Child("one", python(PARENT), first_pause_s=0.05))
    before = run.in_state("one", "running")
    grandchild = int(until(lambda: [line for line in run.log("one").splitlines() if line.isdigit()], "no output")[0])
    leash = int(Path(f"/proc/{before.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(leash, signal.SIGKILL)
    until(lambda: run.process("one").restarts == 1, "no restart")
    assert not alive(before.pid)
    until(lambda: not alive(grandchild), "the grandchild lives on")


def test_pauses_grow_up_to_a_cap_and_begin_anew(tmp_path: Path) -> None:
    watched = Watched(Child("one", ["x"], first_pause_s=0.5, longest_pause_s=3), tmp_path)
    assert [watched.next_pause(1.0) for _ in range(5)] == [0.5, 1, 2, 3, 3]
    assert watched.next_pause(100.0) == 0.5  # it had run for 100 s


def test_one_that_keeps_ending_is_told_once(supervise: Callable[..., Any], until: Until) -> None:
    code = "import sys\nprint('the disk is on fire')\nsys.exit(3)"
    run = supervise(Child("one", python(code), ready=lambda: False, first_pause_s=0.01, longest_pause_s=0.02))
    until(lambda: read_processes(run.folder).get("one") and run.process("one").restarts >= 5, "no restarts")
    told = [line for line in run.said if "in a row" in line]
    assert told == [
        "one: ended with exit code 3, 3 times in a row (last line: the disk is on fire); see "
        f"{run.folder / 'logs' / 'one.log'}. It is tried again, at most every 0.02 s, until it runs or you stop"
    ]
    assert len(run.said) == 3


def test_an_end_that_no_restart_mends_stops_all(supervise: Callable[..., Any]) -> None:
    run = supervise(
        Child("one", python(SLEEPER)),
        Child("two", python("import sys\nprint('wrong key')\nsys.exit(5)"), hopeless=frozenset({5})),
    )
    run.join()
    assert str(run.problem) == f"two: wrong key; everything was stopped, see {run.folder / 'logs' / 'two.log'}"
    assert {process.state for process in read_processes(run.folder).values()} == {"stopped"}


def test_a_program_that_is_not_there(supervise: Callable[..., Any]) -> None:
    run = supervise(Child("one", ["/no/such/program"], hopeless=frozenset({127})))
    run.join()
    assert "one: ended with exit code 127" in str(run.problem)
    assert "cannot be started: [Errno 2]" in run.log("one")


def test_one_that_never_gets_ready_is_started_again(supervise: Callable[..., Any], until: Until) -> None:
    run = supervise(Child("one", python(SLEEPER), ready=lambda: False, ready_s=0.2, first_pause_s=0.01))
    until(lambda: "one: not ready within 0.2 s, started again" in run.said, "it was never given up")
    until(lambda: run.process("one").restarts >= 1, "no restart")


def test_one_that_ignores_the_request_is_killed(supervise: Callable[..., Any], until: Until) -> None:
    run = supervise(Child("one", python(STUBBORN), grace_s=0.2))
    run.in_state("one", "running")
    until(lambda: "deaf" in run.log("one"), "no output")
    started = time.monotonic()
    run.end()
    assert time.monotonic() - started < 10
    assert run.process("one").last_exit == 128 + signal.SIGKILL
    assert "did not end within 0.2 s and is killed" in run.log("one")


def test_what_a_child_started_ends_with_it(supervise: Callable[..., Any], until: Until, alive: Alive) -> None:
    run = supervise(Child("one", python(PARENT), first_pause_s=60))
    child = run.in_state("one", "running")
    grandchild = int(until(lambda: [line for line in run.log("one").splitlines() if line.isdigit()], "no output")[0])
    os.kill(child.pid, signal.SIGKILL)
    until(lambda: not alive(grandchild), "the grandchild lives on")


def test_environment_and_privacy(supervise: Callable[..., Any], until: Until) -> None:
    code = "import os, time\nprint(os.environ['COLOUR'], os.environ['PATH'])\ntime.sleep(600)"
    run = supervise(Child("one", python(code), env={"COLOUR": "green"}))
    until(lambda: f"green {os.environ['PATH']}" in run.log("one"), "no output")
    run.in_state("one", "running")
    modes = {path: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (run.folder, *run.folder.rglob("*"))}
    assert set(modes.values()) == {0}


def test_nothing_outlives_a_killed_supervisor(
    in_process: Callable[..., Any], tmp_path: Path, until: Until, alive: Alive
) -> None:
    first = in_process(tmp_path / "run", one=python(PARENT), two=python(SLEEPER))
    until(lambda: len([1 for p in read_processes(tmp_path / "run").values() if p.state == "running"]) == 2, "no start")
    log = tmp_path / "run" / "logs" / "one.log"
    grandchild = int(until(lambda: [line for line in log.read_text().splitlines() if line.isdigit()], "no output")[0])
    children = [process.pid for process in read_processes(tmp_path / "run").values()]
    os.kill(first.pid, signal.SIGKILL)
    # The next one waits for the children of the first, and then begins.
    second = in_process(tmp_path / "run", one=python(SLEEPER))
    assert second.stdout.readline() == "one: running\n"
    assert not [process for process in (*children, grandchild) if alive(process)]


def test_a_start_can_wait_for_the_children_of_a_killed_supervisor(
    in_process: Callable[..., Any], tmp_path: Path, alive: Alive
) -> None:
    first = in_process(tmp_path, one=python(SLEEPER))
    assert first.stdout.readline() == "one: running\n"
    (child,) = [process.pid for process in read_processes(tmp_path).values()]
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    await_leftovers(tmp_path)
    assert not alive(child)
    assert supervisor_of(tmp_path) is None


def test_a_second_supervisor_is_refused(in_process: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = in_process(folder, one=python(SLEEPER))
    assert first.stdout.readline() == "one: running\n"
    second = in_process(folder, one=python(SLEEPER))
    said = f"{folder}: runs already (process {first.pid}); stop that first, or give another --dir\n"
    assert second.communicate(timeout=30)[0] == said
    assert second.returncode == SupervisionError.exit_code == 6
    assert supervisor_of(folder) == first.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_all(in_process: Callable[..., Any], tmp_path: Path, number: int, alive: Alive) -> None:
    process = in_process(tmp_path / "run", one=python(SLEEPER))
    assert process.stdout.readline() == "one: running\n"
    child = read_processes(tmp_path / "run")["one"].pid
    process.send_signal(number)
    assert process.wait(30) == 0
    assert child is None or not alive(child)


def test_a_second_signal_does_not_wait(
    in_process: Callable[..., Any], tmp_path: Path, until: Until, alive: Alive
) -> None:
    process = in_process(tmp_path / "run", one=python(STUBBORN))
    assert process.stdout.readline() == "one: running\n"
    child = until(lambda: read_processes(tmp_path / "run")["one"].pid, "no pid")
    until(lambda: "deaf" in (tmp_path / "run" / "logs" / "one.log").read_text(), "no output")
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert time.monotonic() - started < 9  # the grace is 10 s
    assert not alive(child)


def test_stop_from_another_process(in_process: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert not stop(folder)
    process = in_process(folder, one=python(SLEEPER))
    assert process.stdout.readline() == "one: running\n"
    assert stop(folder)
    assert process.wait(30) == 0
    assert supervisor_of(folder) is None
    assert not stop(folder)


def test_a_stale_number_in_the_lock_file_is_nobody(tmp_path: Path) -> None:
    (tmp_path / "supervisor.lock").write_text(f"{os.getpid()}\n")  # alive, but it holds no lock
    assert supervisor_of(tmp_path) is None
    assert not stop(tmp_path)


def test_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port_open(port)()
        with pytest.raises(SupervisionError, match=f"port {port} for the gateway cannot be used") as caught:
            require_free_port(port, "the gateway")
        assert "\n" not in str(caught.value)
    assert not port_open(port)()
    require_free_port(port, "the gateway")

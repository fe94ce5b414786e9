"""The real SuperLink and superexec: what they listen on, nodes, runs, and that nothing of them stays behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedsurg.bundle import fedsurg_bundle
from fedsurg.errors import SupervisionError
from fedsurg.flower_programs import flower_program
from fedsurg.supervision import read_processes, stop, supervisor_of
from server.control import Control, ControlError
from server.keeper import keep_nodes
from server.superlink import secret

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Until = Callable[[Callable[[], Any], str], Any]
Alive = Callable[[int], bool]

WAIT_S = 180.0  # on a loaded machine

PROGRAM = """
import sys
from pathlib import Path
from fedsurg.supervision import Supervisor
from server.superlink import superexec, superlink
run, port = Path(sys.argv[1]) / "run", int(sys.argv[2])
say = lambda line: print(line, flush=True)
Supervisor(run, [superlink(run, port), superexec(run, port, Path(sys.argv[1]))], say).run()
"""


def listening(process: int) -> set[str]:
    """Addresses that a process listens on."""
    inodes = set()
    for handle in Path(f"/proc/{process}/fd").iterdir():
        try:
            target = str(handle.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                host, port = fields[1].split(":")
                found.add(f"{socket.inet_ntoa(bytes.fromhex(host)[::-1]) if len(host) == 8 else host}:{int(port, 16)}")
    return found


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def started(coordinator: Path, port: int, until: Until) -> Iterator[Path]:
    """Both are running; at the end none of what was started is left."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(coordinator), str(port)]) as process:
        run = coordinator / "run"
        states = lambda: [each.state for each in read_processes(run).values()]  # noqa: E731
        until(lambda: process.poll() is not None or states() == ["running", "running"], "not started")
        assert process.poll() is None
        yield coordinator
        stop(run)
        process.wait(WAIT_S)


def test_nodes_runs_and_an_end_without_orphans(started: Path, port: int, until: Until, alive: Alive) -> None:
    run = started / "run"
    children = {name: process.pid for name, process in read_processes(run).items()}
    assert listening(children["superlink"] or 0) == {f"127.0.0.1:{port}"}
    assert listening(children["superexec"] or 0) == set()
    with Control(port) as control:
        keep_nodes(started, control, control.nodes())
        keep_nodes(started, control, control.nodes())
        nodes = {node.site: node for node in control.nodes()}
        assert sorted(nodes) == ["east", "north"]
        assert not any(node.online for node in nodes.values())
        with pytest.raises(ControlError, match="the SuperLink refuses"):
            control.register("again", nodes["north"].key)
        control.unregister(nodes["north"].id)
        assert [node.site for node in control.nodes()] == ["east"]
        assert control.run(12345) is None
        bundle = fedsurg_bundle()
        number = control.start(bundle.content, bundle.sha256, "0" * 64)
        # There is no such study, so its process ends; superexec has started one from the bundle.
        ended = until(lambda: (found := control.run(number)) and not found.active and found, "the run never ended")
        assert (ended.how, "no such run in" in ended.why) == ("failed", True)
        control.stop(number)  # over already
        other = control.start(bundle.content, bundle.sha256, "0" * 64)
        control.stop(other)
        stopped = control.run(other)
        assert stopped and not stopped.active
    assert stop(run)
    assert not [process for process in children.values() if process and alive(process)]
    assert supervisor_of(run) is None
    with Control(port) as control, pytest.raises(ControlError, match=f"port {port} does not answer"):
        control.nodes()


def test_killed_superlinks_come_back_with_what_they_knew(started: Path, port: int, until: Until, alive: Alive) -> None:
    run = started / "run"
    with Control(port) as control:
        keep_nodes(started, control, control.nodes())
        known = {node.id for node in control.nodes()}
        superlink = read_processes(run)["superlink"].pid
        assert superlink
        os.kill(superlink, signal.SIGKILL)
        until(lambda: read_processes(run)["superlink"].restarts == 1, "no restart")
        until(lambda: read_processes(run)["superlink"].state == "running", "not running again")
        assert {node.id for node in control.nodes()} == known
    # And the supervisor itself.
    children = [process.pid for process in read_processes(run).values()]
    holder = supervisor_of(run)
    assert holder
    os.kill(holder, signal.SIGKILL)
    until(lambda: not [process for process in children if process and alive(process)], "orphans")


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    path = secret(tmp_path / "run")
    text = path.read_text()
    assert secret(tmp_path / "run").read_text() == text
    assert len(text) == 64
    assert path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "run").stat().st_mode & 0o077 == 0


def test_programs_are_those_of_this_installation() -> None:
    assert flower_program("flower-superlink") == str(Path(sys.executable).parent / "flower-superlink")
    with pytest.raises(SupervisionError, match="flower-nothing: no such program"):
        flower_program("flower-nothing")

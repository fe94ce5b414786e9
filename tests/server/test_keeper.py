"""The run keeper: members are nodes, and what should go on does; with a SuperLink that is played here."""

import itertools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedsurg.joining.clock import now
from server import keeper as keeper_module
from server.control import ControlError, FlowerRun, Node, node_key
from server.joining import revoke
from server.keeper import ENDS_S, TRIES, Keeper
from server.members import Members
from server.nodes import read_nodes
from server.runs import FlowerTry, RunFolder, Status, Wanted

DIGEST = "d" * 64


class PlayedSuperLink:
    """Nodes and runs in memory."""

    def __init__(self) -> None:
        self.known: dict[int, Node] = {}
        self.runs: dict[int, FlowerRun] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.away = False

    def _call(self, *what: Any) -> None:
        if self.away:
            raise ControlError("the SuperLink at port 9444 does not answer")
        self.calls.append(what)

    def nodes(self) -> list[Node]:
        self._call("nodes")
        return list(self.known.values())

    def register(self, site: str, key: bytes) -> int:
        self._call("register", site)
        number = 100 + len(self.known)
        self.known[number] = Node(number, site, key, True, None)
        return number

    def unregister(self, node: int) -> None:
        self._call("unregister", self.known.pop(node).site)

    def start(self, bundle: bytes, sha256: str, study: str) -> int:
        self._call("start", study)
        number = 2**63 + len(self.runs)
        self.runs[number] = FlowerRun(number, "running", "", "")
        return number

    def stop(self, run: int) -> None:
        self._call("stop", run)
        self.end(run, "stopped")

    def end(self, run: int, how: str, why: str = "") -> None:
        self.runs[run] = FlowerRun(run, "finished", how, why)

    def run(self, run: int) -> FlowerRun | None:
        self._call("run")
        return self.runs.get(run)

    def made(self, *kinds: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] in kinds]


class Played:
    """A keeper at a time of its own, and one run that should be going on."""

    def __init__(self, folder: Path) -> None:
        self.superlink, self.time = PlayedSuperLink(), 1000.0
        self.folder = folder
        self.keeper = self.another()
        self.run = RunFolder.of(folder, DIGEST, "demo")
        self.run.want(Wanted(DIGEST, "demo", "fedavg", {}))
        self.run.update(Status(DIGEST, "demo", "waiting", 0, 3))

    def another(self) -> Keeper:
        """As after a kill."""
        return Keeper(self.folder, self.superlink, lambda: self.time)  # type: ignore[arg-type]

    def look(self, seconds: float = 2.0) -> None:
        self.time += seconds
        self.keeper.look()

    @property
    def current(self) -> FlowerTry:
        found = self.run.flower()
        assert found
        return found


@pytest.fixture
def played(coordinator: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    from types import SimpleNamespace

    monkeypatch.setattr(keeper_module, "fedsurg_bundle", lambda: SimpleNamespace(content=b"bundle", sha256="0" * 64))
    return Played(coordinator)


def test_members_become_nodes_once(played: Played, admit_another: Callable[[str], None]) -> None:
    played.look()
    played.look()
    assert played.superlink.made("register") == [("register", "east"), ("register", "north")]
    member = Members(played.folder).find("north")
    assert member and member.node_public_key
    (north,) = [node for node in played.superlink.known.values() if node.site == "north"]
    assert north.key == node_key(member.node_public_key)
    assert north.key.startswith(b"-----BEGIN PUBLIC KEY-----\n")
    admit_another("south")
    played.look()
    assert played.superlink.made("register")[2:] == [("register", "south")]
    played.look()
    assert read_nodes(played.folder)["south"] == {"node": "102", "online": True, "seen": None}


def test_a_revoked_member_is_no_node(played: Played, admit_another: Callable[[str], None]) -> None:
    played.look()
    revoke(played.folder, "north", "", now())
    played.look()
    assert played.superlink.made("unregister") == [("unregister", "north")]
    admit_another("north")  # with new keys
    played.look()
    assert played.superlink.made("register")[2:] == [("register", "north")]
    assert played.superlink.made("unregister") == [("unregister", "north")]


def test_a_node_that_the_superlink_does_not_take_holds_up_no_other(
    played: Played, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = played.superlink.register

    def not_east(site: str, key: bytes) -> int:
        if site == "east":
            raise ControlError("the SuperLink does not take the key of east")
        return register(site, key)

    monkeypatch.setattr(played.superlink, "register", not_east)
    played.look()
    assert played.superlink.made("register") == [("register", "north")]
    assert "does not take the key of east" in caplog.text


def test_a_waiting_run_is_started_once(played: Played) -> None:
    played.look()
    played.look()
    assert played.superlink.made("start") == [("start", DIGEST)]
    assert played.current == FlowerTry(2**63, 0, 1, 1002.0)


@pytest.mark.parametrize("state", ["paused", "failed", "finished"])
def test_other_runs_are_left_alone(played: Played, state: Any) -> None:
    played.run.enter(state)
    played.look()
    assert not played.superlink.made("start", "run")


def test_a_run_that_died_goes_on_with_growing_pauses_and_is_given_up(played: Played) -> None:
    begun = []
    for _ in range(60):
        played.look(1)
        found = played.run.flower()
        if found and found.number > len(begun):
            begun.append(found.at)
            played.superlink.end(found.id, "failed", "ServerApp failed with exception: out of memory")
    assert [after - before for before, after in itertools.pairwise(begun)] == [1, 2, 4, 8, 16]
    status = played.run.status()
    assert status.state == "failed"
    assert status.why.startswith(
        f"its process ended {TRIES} times after round 0 (Flower says: failed ServerApp failed with exception: out of "
        "memory); see "
    )
    # Given to `server run` again, it is tried anew.
    played.run.forget_flower()
    played.run.enter("waiting")
    played.look()
    assert played.current.number == 1


def test_progress_makes_the_count_begin_anew(played: Played) -> None:
    from dataclasses import replace

    played.look()
    played.superlink.end(played.current.id, "failed")
    played.look()
    assert played.current.number == 2
    played.run.update(replace(played.run.status(), round=1))
    played.superlink.end(played.current.id, "failed")
    played.look(0)
    assert (played.current.number, played.current.round) == (1, 1)


def test_a_killed_process_is_noticed_by_its_lock(played: Played) -> None:
    played.look()
    first = played.current.id
    with played.run.held(first):
        played.look()
        assert not played.superlink.made("stop")
    played.keeper = played.another()
    played.look()
    assert played.superlink.made("stop") == [("stop", first)]
    played.look()
    assert played.current.id != first


def test_one_that_came_to_its_end_at_that_moment_is_no_dead_one(played: Played) -> None:
    played.look()
    with played.run.held(played.current.id):
        pass

    class Ending(RunFolder):
        """Between the look at its state and the look at its lock, the run is finished."""

        def holder(self) -> tuple[int, int]:
            self.enter("finished")
            return super().holder()

    played.keeper._keep(Ending(played.run.path))
    assert not played.superlink.made("stop")


def test_one_that_is_just_starting_is_not_taken_for_dead(played: Played) -> None:
    played.look()
    with played.run.held(5):  # of an earlier Flower run
        pass
    played.look(100)
    assert not played.superlink.made("stop")
    played.look(100)
    assert len(played.superlink.made("stop")) == 1


def test_a_predecessor_is_waited_for_and_one_that_hangs_is_killed(played: Played) -> None:
    code = (
        "import sys, time; from pathlib import Path; from server.runs import RunFolder\n"
        f"with RunFolder(Path({str(played.run.path)!r})).held({2**63}):\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    played.look()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline() == "held\n"
            played.superlink.end(played.current.id, "failed")
            played.look()
            played.look(ENDS_S - 3)
            assert process.poll() is None
            played.look(5)
            assert process.wait(30) == -signal.SIGKILL
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
    assert len(played.superlink.made("start")) == 1
    played.look()
    assert len(played.superlink.made("start")) == 2


def test_a_pause_between_two_processes(played: Played) -> None:
    played.look()
    played.run.want_pause()
    played.look()
    assert played.run.status().state == "waiting"  # its process does it, after the present round
    played.superlink.end(played.current.id, "failed")
    played.look()
    assert played.run.status().state == "paused"
    assert not played.run.pause_wanted


def test_a_lost_superlink_is_said_once_and_nothing_is_counted(played: Played, caplog: pytest.LogCaptureFixture) -> None:
    played.superlink.away = True
    with caplog.at_level(logging.WARNING, "fedsurg.keeper"):
        for _ in range(5):
            played.look(60)
    assert [record.getMessage() for record in caplog.records] == [
        "nodes: the SuperLink at port 9444 does not answer",
        f"{played.run.path.name}: the SuperLink at port 9444 does not answer",
    ]
    assert played.run.flower() is None
    played.superlink.away = False
    played.look()
    assert played.current.number == 1


def test_a_damaged_run_does_not_hold_up_the_others(played: Played) -> None:
    damaged = RunFolder.of(played.folder, "0" * 64, "broken")
    damaged.path.mkdir()
    (damaged.path / "status.json").write_text("{")
    played.look()
    assert played.superlink.made("start") == [("start", DIGEST)]

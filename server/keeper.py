"""The run keeper: members are nodes of the SuperLink, and a run that should be going on is.

One process beside the SuperLink, that looks every two seconds. What it decides on lies in files and in the SuperLink's
database, so it can be killed at any time.
"""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from fedsurg.bundle import Bundle, fedsurg_bundle
from fedsurg.errors import FedsurgError
from fedsurg.joining.clock import stamp
from server.control import Control, ControlError, FlowerRun, Node, node_key
from server.federation_file import read_federation_file
from server.members import Members
from server.nodes import write_nodes
from server.runs import GOING, FlowerTry, RunFolder, runs_of

log = logging.getLogger("fedsurg.keeper")

EVERY_S = 2.0
TRIES = 6  # Flower runs that end in one round before a person is asked
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # before a Flower run that follows one without progress
STARTS_S = 120.0  # at most, until a ServerApp that was started holds its run's folder
ENDS_S = 30.0  # at most, until the ServerApp of a Flower run that is over lets go of it


class Keeper:
    """Of one coordinator's folder.

    Args:
        folder: of the coordinator.
        control: of its SuperLink.
        clock: seconds since the epoch; for tests.
    """

    def __init__(self, folder: Path, control: Control, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._control, self._clock = folder, control, clock
        self._over: dict[Path, tuple[int, float]] = {}  # run whose Flower run is over -> who holds it still, since when
        self._said: dict[str, str] = {}

    @cached_property
    def bundle(self) -> Bundle:
        """The app bundle."""
        return fedsurg_bundle()

    def look(self) -> None:
        """Put right what is not as it should be; a part that cannot be put right is said and tried again."""
        self._try("nodes", self._keep_nodes)
        for run in runs_of(self._folder):
            self._try(run.path.name, lambda run=run: self._keep(run))  # type: ignore[misc]

    def _keep_nodes(self) -> None:
        nodes = self._control.nodes()
        keep_nodes(self._folder, self._control, nodes)
        write_nodes(self._folder, {node.site: node_facts(node) for node in nodes})

    def _keep(self, run: RunFolder) -> None:
        """See to one run."""
        over = self._over.pop(run.path, None)  # only what is over at this look too is waited for on
        status = run.status()
        if status.state not in GOING:
            return
        submitted = run.flower()
        flower = self._control.run(submitted.id) if submitted else None
        if submitted and flower and flower.active:
            self._watch(run, submitted, flower)
        elif holder := run.holder()[0]:
            self._hurry(run, holder, over)
        elif run.pause_wanted:
            run.want_pause(False)
            run.enter("paused", "as asked")
        else:
            self._submit(run, submitted, flower)

    def _watch(self, run: RunFolder, submitted: FlowerTry, flower: FlowerRun) -> None:
        """A ServerApp that was killed is noticed by its lock; Flower would need more than a minute."""
        holder, last = run.holder()
        if run.status().state not in GOING:  # it came to its end meanwhile, and says so before it lets go
            return
        if not holder and flower.started and (last == flower.id or self._clock() - submitted.at > STARTS_S):
            log.warning("%s: the process of its rounds is gone, Flower run %s is stopped", run.path.name, flower.id)
            self._control.stop(flower.id)

    def _hurry(self, run: RunFolder, holder: int, over: tuple[int, float] | None) -> None:
        """The ServerApp of a Flower run that is over ends at its next call; one that hangs is killed."""
        since = over[1] if over and over[0] == holder else self._clock()
        self._over[run.path] = holder, since
        if self._clock() - since > ENDS_S and run.holder()[0] == holder:
            log.warning("%s: process %s does not end and is killed", run.path.name, holder)
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder, signal.SIGKILL)

    def _submit(self, run: RunFolder, before: FlowerTry | None, flower: FlowerRun | None) -> None:
        """Start a Flower run that goes on from the checkpoint; a growing pause after one without progress."""
        status, wanted = run.status(), run.wanted()
        number = before.number + 1 if before and before.round == status.round else 1
        if number > TRIES:
            how = f"{flower.how} {flower.why[:200]}".strip() if flower else "nothing of it"
            run.enter(
                "failed",
                f"its process ended {TRIES} times after round {status.round} (Flower says: {how}); see {run.log}, then "
                "give the study to fedsurg server run again",
            )
            return
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (number - 2)) if number > 1 else 0.0
        if before and self._clock() - before.at < pause:
            return
        started = self._control.start(self.bundle.content, self.bundle.sha256, wanted.study)
        run.submitted(FlowerTry(started, status.round, number, self._clock()))
        log.info("%s: Flower run %s goes on after round %s (try %s)", run.path.name, started, status.round, number)

    def _try(self, what: str, work: Callable[[], None]) -> None:
        """Do it; a problem is said once, until it changes."""
        said = ""
        try:
            work()
        except FedsurgError as problem:
            said = str(problem)
        if said and self._said.get(what) != said:
            log.warning("%s: %s", what, said)
        self._said[what] = said


def keep_nodes(folder: Path, control: Control, nodes: list[Node]) -> None:
    """Register the nodes of admitted members, unregister all others. Doing it again changes nothing.

    Raises:
        ControlError: the first that the SuperLink did not take; the others are registered.
    """
    wanted = {node_key(one.node_public_key): one.site for one in Members(folder).all() if one.node_public_key}
    for node in nodes:
        if node.key not in wanted:
            control.unregister(node.id)
            log.info("%s: node %s is shut out", node.site or "an unknown site", node.id)
    known, problems = {node.key for node in nodes}, []
    for key, site in wanted.items():
        if key not in known:
            try:
                log.info("%s: node %s is registered", site, control.register(site, key))
            except ControlError as problem:  # the others are not to wait for this one
                problems.append(problem)
    if problems:
        raise problems[0]


def node_facts(node: Node) -> dict[str, Any]:
    """A node for `nodes.json`."""
    return {"node": str(node.id), "online": node.online, "seen": stamp(node.seen) if node.seen else None}


def keep(folder: Path) -> None:
    """Look until the process is ended.

    Raises:
        FedsurgError: the folder is not a coordinator's.
    """
    with Control(read_federation_file(folder).ports.superlink) as control:
        keeper = Keeper(folder, control)
        while True:
            keeper.look()
            time.sleep(EVERY_S)

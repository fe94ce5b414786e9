"""The federation: the round loop over Flower's Grid.

Ours, because Flower's own loop cannot resume, starts always at round 1 and dies on one bad reply. One message goes to
each site and comes back per round; every reply is checked; one bad site costs only itself.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace

import httpx
from flwr.app import Message
from flwr.serverapp import Grid

from fedsurg.errors import ContractError, FederationError, InterruptedRunError
from fedsurg.learning.server_step import ServerStep
from fedsurg.sharing.contract import Contract
from fedsurg.sharing.protocol import Report, Request
from fedsurg.sharing.update import RunningMean
from fedsurg.study.config import Study
from server.checkpoint import CheckpointStore, ServerState
from server.observer import Observer, Record
from server.records import Outgoing, message_bytes, read_reply
from server.roster import AnyNode, Roster
from server.validation import Accepted, check_reply

log = logging.getLogger("fedsurg.server")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.001, 0.5  # between two looks for replies
FIRST_LOOK_S, LONGEST_LOOK_S = 0.2, 2.0  # between two looks for nodes
JOIN_S = 300.0  # at most, that the first round waits for all sites: people start them at about the same time
RETURN_S = 90.0  # at most, that a round waits for a lost site: Flower lets a restarted node in again after a minute


class Federation:
    """All rounds of one study under one method.

    Args:
        study: resolved.
        digest: of the study, sent with every request.
        contract: what every reply must hold.
        sites: how many nodes take part.
        step: what happens to the average.
        store: the checkpoint; `run` begins after the round it holds.
        first: the state before round 1, when there is no checkpoint.
        on_round: called with each finished round's record.
        stopped: asked between replies; true ends the run, which can be resumed.
        turns: how many sites answer one after the other where they share a machine; each has the whole deadline.
        roster: which nodes take part and who they are.
        observer: hears of everything.
    """

    def __init__(
        self,
        study: Study,
        digest: str,
        contract: Contract,
        sites: int,
        step: ServerStep,
        store: CheckpointStore,
        first: ServerState,
        on_round: Callable[[Record], None] = lambda record: None,
        stopped: Callable[[], bool] = lambda: False,
        turns: int = 1,
        roster: Roster | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._study, self._digest, self._contract, self._sites = study, digest, contract, sites
        self._quorum = min(study.quorum, sites)
        self._deadline_s = study.federation.deadline_s * turns
        self._step, self._store, self._first = step, store, first
        self._on_round, self._stopped = on_round, stopped
        self._roster: Roster = roster or AnyNode()
        self._observer = observer or Observer()
        self._began = False

    def run(self, grid: Grid) -> ServerState:
        """Run or resume all rounds, then deliver the last average. A state that is not `finished`: it was paused.

        Raises:
            FederationError: too few sites appeared, or a round missed its quorum; the last checkpoint stays good.
            InterruptedRunError: the person stopped the run.
        """
        state = self._store.load() or self._first
        self._step.load_tensors(state.step) if state.step else None
        while not state.finished and not self._observer.pauses():
            nodes = self._gather(grid, state)
            last = state.round == self._study.federation.rounds
            state = self._finish(grid, nodes, state) if last else self._round(grid, nodes, state)
            self._observer.finished(state.history[-1], state.shared)
            self._on_round(state.history[-1])
        return state

    def _round(self, grid: Grid, nodes: Mapping[int, str], state: ServerState) -> ServerState:
        """Ask, check and average as replies come in, let the server step learn, save."""
        started, number = time.perf_counter(), state.round + 1
        mean, record = RunningMean(), self._new_record(number, "train")
        request = Request(self._digest, self._contract.digest, number)
        for node, reply in self._exchange(grid, nodes, request, state, record):
            self._take(node, reply, request, state, mean, record)
        self._require_quorum(record)
        asked = time.perf_counter()
        average = mean.mean()
        averaged = time.perf_counter()
        shared, facts = self._step.advance(average, number)
        stepped = time.perf_counter()
        record["server"] = facts
        record["seconds"] = {
            "sites": asked - started,
            "aggregate": averaged - asked,
            "server": stepped - averaged,
            "checkpoint": 0.0,
        }
        _warn_of_collapse(number, facts, state)
        state = ServerState(number, shared, self._step.tensors(), (*state.history, record))
        self._store.save(state)
        record["seconds"]["checkpoint"] = time.perf_counter() - stepped
        return state

    def _finish(self, grid: Grid, nodes: Mapping[int, str], state: ServerState) -> ServerState:
        """Deliver the last average: sites score it and keep their personalised model; their replies hold no tensors."""
        record = self._new_record(self._study.federation.rounds + 1, "finish")
        request = Request(self._digest, self._contract.digest, record["round"], "finish")
        for node, reply in self._exchange(grid, nodes, request, state, record):
            self._take(node, reply, request, state, None, record)
        self._require_quorum(record)
        state = replace(state, history=(*state.history, record), finished=True)
        self._store.save(state)
        return state

    def _exchange(
        self, grid: Grid, nodes: Mapping[int, str], request: Request, state: ServerState, record: Record
    ) -> Iterator[tuple[tuple[int, str], Message]]:
        """Send the request to all nodes and yield each reply with its node as it comes, until the deadline.

        Each is fetched by itself: one that Flower cannot put together costs its site alone.
        """
        limit = self._deadline_s
        head = self._observer.asks(request, state.shared, list(nodes.values()))
        outgoing = Outgoing(request, state.shared, limit, head)
        messages = [outgoing.to(node) for node in nodes]
        record["bytes_out"] = message_bytes(messages[0])
        waiting: dict[str, tuple[int, str]] = {}
        for identity, node in zip(grid.push_messages(messages), nodes.items(), strict=True):
            if identity:
                waiting[identity] = node
            else:
                self._refuse(request, record, node, "the request could not be sent")
        deadline, wait = time.monotonic() + limit, FIRST_WAIT_S
        while waiting and time.monotonic() < deadline:
            before = len(waiting)
            for identity, node in list(waiting.items()):
                if self._stopped():
                    raise InterruptedRunError(
                        f"stopped in round {request.round}; every finished round is on disk, resume with --resume"
                    )
                try:
                    reply = _fetch(grid, identity)
                except ContractError as problem:
                    del waiting[identity]
                    self._refuse(request, record, node, str(problem))
                    continue
                if reply is not None:
                    del waiting[identity]
                    yield node, reply
            if len(waiting) < before:
                wait = FIRST_WAIT_S
            elif waiting:
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_S)
        for node in waiting.values():
            self._refuse(request, record, node, f"no answer within {limit:g} s")

    def _take(
        self,
        node: tuple[int, str],
        message: Message,
        request: Request,
        state: ServerState,
        mean: RunningMean | None,
        record: Record,
    ) -> None:
        """Check one reply and add it to the average (none: it must hold no tensors), or note why not."""
        name = ""
        try:
            reply = read_reply(message)
            self._roster.require(node[0], reply.site)
            name = reply.site
            if name in record["sites"]:
                raise ContractError("answered twice in one round, or two nodes use this site name")
            self._observer.answered(request, name, reply.packed, reply.head)
            if mean is not None:
                accepted = check_reply(
                    name,
                    reply.packed,
                    reply.report,
                    sent=state.shared,
                    contract=self._contract,
                    limits=self._study.federation,
                )
                mean.add(accepted.update, self._weight(accepted))
            elif reply.packed.data:
                raise ContractError("sent tensors that nobody asked for")
        except ContractError as problem:
            self._refuse(request, record, (node[0], node[1] or name), str(problem))
            return
        record["bytes_in"] = record["bytes_in"] or message_bytes(message)
        self._note(record, name, reply.report)
        self._observer.accepted(request, name)

    def _refuse(self, request: Request, record: Record, node: tuple[int, str], why: str) -> None:
        who = node[1] or f"node {node[0]}"
        record["refused"][who] = why
        log.warning("round %s: %s refused: %s", record["round"], who, why)
        self._observer.refused(request, who, why)

    def _weight(self, accepted: Accepted) -> float:
        return float(accepted.report.samples) if self._study.federation.weights == "samples" else 1.0

    def _note(self, record: Record, site: str, report: Report) -> None:
        facts = {key: value if math.isfinite(value) else None for key, value in asdict(report).items()}
        record["sites"][site] = {
            "samples": report.samples,
            "train_loss": facts["train_loss"],
            "received": {key: facts[f"received_{key}"] for key in ("loss", "dice", "iou")},
            "trained": {key: facts[f"trained_{key}"] for key in ("loss", "dice", "iou")},
            "seconds": {key: facts[f"{key}_s"] for key in ("train", "validate", "data", "other")},
        }

    def _require_quorum(self, record: Record) -> None:
        """A round without a quorum is a failed run: Flower itself would report it as completed."""
        if len(record["sites"]) < self._quorum:
            reasons = "; ".join(f"{who}: {why}" for who, why in record["refused"].items()) or "no reply"
            raise FederationError(
                f"round {record['round']}: {len(record['sites'])} of {self._sites} sites accepted, the quorum is "
                f"{self._quorum} ({reasons}); the last round is saved, resume when the cause is mended"
            )

    def _gather(self, grid: Grid, state: ServerState) -> dict[int, str]:
        """Who takes part in the next round: all sites, or after a bounded wait those that are there.

        Late sites take part from the next round on. One that was lost is waited for, one that stays away is not; and
        without a quorum the deadline is waited for the sites that lack. Flower alone would wait for ever.
        """
        began, limit = time.monotonic(), self._study.federation.deadline_s
        patience = min(limit, RETURN_S if self._began or state.round else JOIN_S)
        expected = set(state.history[-1]["sites"]) if self._began and state.history else None
        self._began = True
        while True:
            nodes = dict(list(self._roster.present(grid).items())[: self._sites])
            waited = time.monotonic() - began
            lost = expected is None or any(self._roster.awaits(site) for site in expected - set(nodes.values()))
            enough = len(nodes) >= self._quorum and (waited > patience or not lost)
            if len(nodes) == self._sites or enough:
                return nodes
            if self._stopped():
                raise InterruptedRunError("stopped while waiting for sites; resume with --resume")
            if waited > limit:
                raise FederationError(
                    f"{len(nodes)} of {self._sites} sites connected within {limit:g} s, "
                    f"the quorum is {self._quorum}; start the missing sites and resume"
                )
            time.sleep(min(LONGEST_LOOK_S, max(FIRST_LOOK_S, waited / 4)))

    def _new_record(self, number: int, work: str) -> Record:
        return {
            "round": number,
            "work": work,
            "sites": {},
            "refused": {},
            "server": {},
            "bytes_out": 0,
            "bytes_in": 0,
            "seconds": {},
        }


def _fetch(grid: Grid, identity: str) -> Message | None:
    """The reply to the message of this id; none: it is not there yet.

    Raises:
        ContractError: it is no message, or answers another one.
        httpx.HTTPError: the SuperLink does not answer, which is no site's fault.
    """
    try:
        found = list(grid.pull_messages([identity]))
    except httpx.HTTPError:
        raise
    except Exception as problem:  # whatever a site has sent in place of a message
        log.warning("a reply cannot be put together", exc_info=True)
        raise ContractError(f"its answer cannot be put together ({type(problem).__name__})") from problem
    if not found:
        return None
    if found[0].metadata.reply_to_message_id != identity:
        raise ContractError("its answer says that it answers another request")
    return found[0]


def _warn_of_collapse(number: int, facts: dict[str, float], state: ServerState) -> None:
    if facts.get("serq_stopped") and not (state.history and state.history[-1]["server"].get("serq_stopped")):
        log.warning(
            "round %s: the variance of the instrument target fell below its limit; SERQ is stopped for the rest of the "
            "run, averages go out unchanged. Lower server.serq.lambda_2 or server.rate_factor",
            number,
        )

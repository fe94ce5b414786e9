"""Who takes part in a round: late sites, lost sites, the site behind a node; pauses, and what is told."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict
from flwr.serverapp import Grid

from fedsurg.errors import ContractError, FederationError
from fedsurg.sharing.protocol import HEAD, Request
from fedsurg.sharing.update import Packed, Update
from server import federation
from server.observer import Observer
from simulations.inline import InlineGrid

NODES = {10: "site1", 11: "site2", 12: "site3"}


class Ward:
    """Sites come and go by script: in the n-th look those of `looks[n]` are there, later those of the last one."""

    def __init__(self, *looks: Collection[int], revoked: Collection[str] = ()) -> None:
        self.looks, self.number, self.revoked = looks, 0, revoked
        self.refuses: dict[int, str] = {}

    def present(self, grid: Grid) -> dict[int, str]:
        there = self.looks[min(self.number, len(self.looks) - 1)]
        self.number += 1
        return {node: name for node, name in NODES.items() if node in there}

    def awaits(self, site: str) -> bool:
        return site not in self.revoked

    def require(self, node: int, site: str) -> None:
        if NODES[node] != site:
            raise ContractError(f"says it is of {site!r}, but its node is {NODES[node]!r}")
        if node in self.refuses:
            raise ContractError(self.refuses[node])


class Heard(Observer):
    """Keeps everything it is told; pauses before the rounds of `pause_before`."""

    def __init__(self, pause_before: int = 0) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.pause_before, self.rounds = pause_before, 0

    def asks(self, request: Request, sent: Update, sites: Collection[str]) -> Mapping[str, Any]:
        self.said.append(("asks", request.round, request.work, list(sites)))
        return {"log": "coordinator", "sequence": request.round}

    def answered(self, request: Request, site: str, packed: Packed, head: Mapping[str, object]) -> None:
        self.said.append(("answered", site, len(packed.data), dict(head)))
        if head.get("log") == "forged":
            raise ContractError("its audit head is forged")

    def accepted(self, request: Request, site: str) -> None:
        self.said.append(("accepted", site))

    def refused(self, request: Request, who: str, why: str) -> None:
        self.said.append(("refused", who, why))

    def finished(self, record: dict[str, Any], shared: Update) -> None:
        self.rounds = record["round"]
        self.said.append(("finished", record["round"], float(shared.vector[0])))

    def pauses(self) -> bool:
        return self.rounds + 1 == self.pause_before


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(federation, "LONGEST_LOOK_S", 0.01)


def sites_of(state: Any) -> list[list[str]]:
    return [sorted(record["sites"]) for record in state.history]


def test_a_late_site_takes_part_from_the_next_round_on(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "JOIN_S", 0.05)
    ward = Ward(*[{10, 11}] * 50, {10, 11, 12})
    ward_looks = ward.present

    def present(grid: Grid) -> dict[int, str]:
        found = ward_looks(grid)
        if world.asked:  # the first round is out
            ward.number = len(ward.looks)
        return found

    ward.present = present  # type: ignore[method-assign]
    state = world.run(roster=ward)
    assert sites_of(state)[0] == ["site1", "site2"]
    assert sites_of(state)[-1] == ["site1", "site2", "site3"]


def test_the_first_round_waits_for_all(world: Any) -> None:
    state = world.run(roster=Ward({10}, {10, 11}, {10, 11, 12}))
    assert sites_of(state) == [["site1", "site2", "site3"]] * 3


def test_a_lost_site_is_waited_for_and_takes_part_again(world: Any) -> None:
    everyone = set(NODES)
    state = world.run(roster=Ward(everyone, {10, 11}, {10, 11}, everyone))
    assert sites_of(state) == [["site1", "site2", "site3"]] * 3


def test_the_wait_for_a_lost_site_is_bounded_and_not_repeated(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "RETURN_S", 0.1)
    ward = Ward(set(NODES), {10, 11})
    state = world.run(roster=ward)
    assert sites_of(state) == [["site1", "site2", "site3"], ["site1", "site2"], ["site1", "site2"]]
    looks_of_last_round = 1
    assert ward.number > 3 + looks_of_last_round  # several looks in round 2, one in the last


def test_a_revoked_site_is_not_waited_for(world: Any) -> None:
    ward = Ward(set(NODES), {10, 11}, revoked={"site3"})
    state = world.run(roster=ward)
    assert sites_of(state)[1:] == [["site1", "site2"]] * 2
    assert ward.number == 3


def test_too_few_sites_fail_the_run_and_it_can_go_on(world: Any) -> None:
    world.options = {"deadline_s": 3}
    with pytest.raises(FederationError, match=r"1 of 3 sites connected within 3 s, the quorum is 2; start the"):
        world.run(roster=Ward(set(NODES), {10}))
    assert world.store.load().round == 1
    state = world.run(roster=Ward(set(NODES)))
    assert (state.round, state.finished) == (2, True)


def test_a_reply_in_anothers_name_is_refused(make_world: Callable[..., Any]) -> None:
    world = make_world(replies={3: lambda script: script.reply(site="site1")}, options={"rounds": 1})
    state = world.run(roster=Ward(set(NODES)))
    assert state.history[0]["refused"] == {"site3": "says it is of 'site1', but its node is 'site3'"}
    assert sorted(state.history[0]["sites"]) == ["site1", "site2"]
    assert state.shared.vector[6] == 1.5


def test_a_site_that_is_revoked_while_it_works_does_not_count(make_world: Callable[..., Any]) -> None:
    ward = Ward(set(NODES))

    def revoked_meanwhile(script: Any) -> RecordDict:
        ward.refuses[12] = "was revoked"
        return script.reply()

    world = make_world(replies={3: revoked_meanwhile}, options={"rounds": 1})
    state = world.run(roster=ward)
    assert state.history[0]["refused"] == {"site3": "was revoked"}


def test_a_pause_comes_between_rounds_and_the_run_goes_on(world: Any) -> None:
    state = world.run(observer=Heard(pause_before=2))
    assert (state.round, state.finished) == (1, False)
    assert {round_ for round_, _, _ in world.asked} == {1}
    state = world.run()
    assert (state.round, state.finished) == (2, True)
    assert state.shared.vector.tolist() == [5.0] * 6 + [4.0] * 2


def test_everything_is_told_in_order(make_world: Callable[..., Any]) -> None:
    def with_head(log: str) -> Callable[[Any], RecordDict]:
        def reply(script: Any) -> RecordDict:
            content: RecordDict = script.reply()
            content[HEAD] = ConfigRecord({"log": log})
            return content

        return reply

    world = make_world(options={"rounds": 1}, replies={1: with_head("site1"), 3: with_head("forged")})
    heard = Heard()
    state = world.run(roster=Ward(set(NODES)), observer=heard)
    assert heard.said[:7] == [
        ("asks", 1, "train", ["site1", "site2", "site3"]),
        ("answered", "site1", 32, {"log": "site1"}),
        ("accepted", "site1"),
        ("answered", "site2", 32, {}),
        ("accepted", "site2"),
        ("answered", "site3", 32, {"log": "forged"}),
        ("refused", "site3", "its audit head is forged"),
    ]
    assert heard.said[7] == ("finished", 1, 2.5)
    assert heard.said[8][:3] == ("asks", 2, "finish")
    assert state.history[0]["refused"] == {"site3": "its audit head is forged"}


def test_the_head_travels_with_the_request(world: Any) -> None:
    seen: list[Any] = []

    class Looking(InlineGrid):
        def push_messages(self, messages: Any) -> Any:
            messages = list(messages)
            seen.extend(dict(message.content[HEAD]) for message in messages)
            return super().push_messages(messages)

    world.grid = lambda: Looking(world.app(), 3, 0.5)
    world.run(observer=Heard())
    assert seen[:3] == [{"log": "coordinator", "sequence": 1}] * 3


def test_a_request_that_cannot_be_sent_costs_its_site(make_world: Callable[..., Any]) -> None:
    class Losing(InlineGrid):
        """The third node left between the look and the request."""

        def push_messages(self, messages: Any) -> Any:
            first, second, _ = messages
            return [*super().push_messages([first, second]), None]

    world = make_world(options={"rounds": 1})
    world.grid = lambda: Losing(world.app(), 3, 0.5)
    state = world.run(roster=Ward(set(NODES)))
    assert state.history[0]["refused"] == {"site3": "the request could not be sent"}
    assert sorted(state.history[0]["sites"]) == ["site1", "site2"]

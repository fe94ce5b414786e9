"""The round loop: averages, quorum, and that a bad site costs only itself."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from flwr.app import Message, RecordDict
from torch import Tensor

from fedsurg.errors import CheckpointError, FederationError, InterruptedRunError
from fedsurg.learning.server_step import Broadcast
from fedsurg.sharing.protocol import LAYOUT, ORIGIN, REPORT, UPDATE, Report
from fedsurg.sharing.update import Update

SECRET = "/srv/hospital/PATIENT-7/frame.png"


def test_a_run_averages_and_delivers(world: Any) -> None:
    records: list[dict[str, Any]] = []
    state = world.run(on_round=records.append)
    # 1, 2 and 3 are added by the sites, so the mean rises by 2 a round.
    assert state.shared.vector.tolist() == [5.0] * 6 + [4.0] * 2
    assert (state.round, state.finished) == (2, True)
    assert [record["round"] for record in records] == [1, 2, 3]
    works = [(number, work) for number, _, work in world.asked]
    assert works == [(1, "train")] * 3 + [(2, "train")] * 3 + [(3, "finish")] * 3
    lines = [json.loads(line) for line in (world.folder / "history.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2, 3]
    assert lines[0]["sites"]["site2"]["samples"] == 20
    assert lines[0]["sites"]["site2"]["received"] == {"loss": None, "dice": None, "iou": 0.5}
    assert 0 < lines[0]["bytes_in"] < 1200
    assert 0 < lines[0]["bytes_out"] < 1200


def test_weights_by_samples(make_world: Callable[..., Any]) -> None:
    world = make_world(options={"weights": "samples", "rounds": 1})
    # 10, 20 and 30 samples: (1 * 10 + 2 * 20 + 3 * 30) / 60
    assert world.run().shared.vector[6] == pytest.approx(14 / 6)


def _facts(**change: Any) -> dict[str, Any]:
    return {**Report(30).facts(), **change}


def _changed(**change: Any) -> Callable[[Any], RecordDict]:
    return lambda script: script.reply(replace(script.packed, **change))


def _vector(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def _raise(problem: BaseException) -> Callable[[Any], RecordDict]:
    def reply(_script: Any) -> RecordDict:
        raise problem

    return reply


def _without(record: str) -> Callable[[Any], RecordDict]:
    def reply(script: Any) -> RecordDict:
        content = script.reply()
        del content[record]
        return content

    return reply


def _with(record: str, key: str, value: Any) -> Callable[[Any], RecordDict]:
    def reply(script: Any) -> RecordDict:
        content = script.reply()
        content[record][key] = value
        return content

    return reply


BAD: dict[str, tuple[Callable[[Any], RecordDict], str]] = {
    "raises": (_raise(OSError(SECRET)), "the site failed: OSError; its own log says why"),
    "dies": (_raise(SystemExit(SECRET)), "the site failed: SystemExit"),
    "nan": (_changed(data=_vector(*[1] * 7, np.nan)), "tensor 'head' has values that are not finite"),
    "infinite": (_changed(data=_vector(np.inf, *[1] * 7)), "tensor 'body' has values that are not finite"),
    "missing tensor": (
        _changed(names=("body",), shapes=("2x3",), data=_vector(*[1] * 6)),
        "tensor 'head' is missing (1 of 2 are)",
    ),
    "extra tensor": (
        _changed(names=("body", "head", "query"), shapes=("2x3", "2", "5"), data=_vector(*[1] * 13)),
        "tensor 'query' is not in the sharing contract",
    ),
    "other shape": (_changed(shapes=("3x2", "2")), "tensor 'body' has shape 3x2, the contract says 2x3"),
    "one value for all": (_changed(data=_vector(1)), "the tensors have 4 bytes, their shapes need 32"),
    "oversized": (_changed(data=_vector(*[1] * 9)), "the tensors have 36 bytes, their shapes need 32"),
    "other type": (_changed(dtype="float64"), "the tensors have dtype 'float64'"),
    "far away": (_changed(data=_vector(*[1e6] * 8)), "moved by a norm of 2.828e+06, allowed is 1000"),
    "overflowing": (_changed(data=_vector(*[3e38] * 8)), "moved by a norm of 8.485e+38, allowed is 1000"),
    "negative samples": (lambda s: s.reply(facts=_facts(samples=-5)), "claims -5 samples, allowed are 1 to 1000000"),
    "no samples": (lambda s: s.reply(facts=_facts(samples=0)), "claims 0 samples"),
    "a billion samples": (lambda s: s.reply(facts=_facts(samples=10**9)), "claims 1000000000 samples"),
    "half a sample": (lambda s: s.reply(facts=_facts(samples=0.5)), "samples must be an integer, got 0.5"),
    "extra metric": (lambda s: s.reply(facts=_facts(age=61)), "report lacks [] and has unlisted ['age']"),
    "missing metric": (lambda s: s.reply(facts={"samples": 3}), "report lacks ['train_loss'"),
    "list of metrics": (lambda s: s.reply(facts=_facts(train_loss=[1.0])), "train_loss must be a number, got list"),
    "no report": (_without(REPORT), "the reply has the records ['layout', 'origin', 'update'], expected"),
    "no update": (_without(UPDATE), "the reply has the records ['layout', 'origin', 'report'], expected"),
    "no origin": (_without(ORIGIN), "the reply has the records ['layout', 'report', 'update'], expected"),
    "no layout": (_without(LAYOUT), "the reply has the records ['origin', 'report', 'update'], expected"),
    "chatty origin": (_with(ORIGIN, "path", SECRET), "the reply does not say which site it is from"),
    "numbered origin": (_with(ORIGIN, "site", 7), "the reply does not say which site it is from"),
    "long name": (_with(ORIGIN, "site", "x" * 65), "the reply does not say which site it is from"),
    "text for names": (_with(LAYOUT, "names", "body"), "the reply does not say which tensors it holds"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_site_costs_only_itself(make_world: Callable[..., Any], kind: str) -> None:
    reply, message = BAD[kind]
    world = make_world(replies={3: reply}, options={"rounds": 1})
    state = world.run()
    # sites 1 and 2 alone
    assert state.shared.vector.tolist() == [2.5] * 6 + [1.5] * 2
    record = state.history[0]
    assert list(record["sites"]) == ["site1", "site2"]
    ((_, reason),) = record["refused"].items()
    assert message in reason
    assert SECRET not in json.dumps(state.history)


def test_the_first_site_that_never_answers_costs_only_itself(make_world: Callable[..., Any]) -> None:
    silence = threading.Event()

    def wait(script: Any) -> RecordDict:
        silence.wait(20)
        return script.reply()

    world = make_world(replies={1: wait}, options={"deadline_s": 2})
    started = time.monotonic()
    try:
        state = world.run()
    finally:
        silence.set()
    assert time.monotonic() - started < 20
    assert [sorted(record["sites"]) for record in state.history] == [["site2", "site3"]] * 3
    assert state.history[0]["refused"] == {
        "node 10": "the site failed: no answer within 2 s; its own log says why",
    }
    # It is still busy with round 1, so it is not asked again: two calls at once would spoil its state.
    assert "still busy with an earlier message" in state.history[1]["refused"]["node 10"]
    assert [number for _, number, _ in world.asked].count(1) == 1


def test_two_sites_of_one_name(make_world: Callable[..., Any]) -> None:
    world = make_world(replies={3: lambda script: script.reply(site="site1")}, options={"rounds": 1})
    state = world.run()
    assert state.shared.vector[6] == 1.5
    assert "answered twice in one round, or two nodes use this site name" in state.history[0]["refused"]["site1"]
    assert "answered twice" in state.history[1]["refused"]["site1"]


def test_a_late_reply_is_ignored(make_world: Callable[..., Any]) -> None:
    class Late(type(make_world().grid())):  # type: ignore[misc]
        """Holds back site 3's reply to the first message until the next round."""

        held: Message | None = None

        def pull_messages(self, message_ids: Any) -> list[Message]:
            replies = super().pull_messages(message_ids)
            if self.held is None and replies and replies[0].metadata.src_node_id == 12:
                Late.held = replies[0]
                return []
            return [*replies, self.held] if self.held is not None and replies else replies

    world = make_world(options={"deadline_s": 2})
    world.grid = lambda: Late(world.app(), 3, 2)
    state = world.run(turns=1)
    assert state.history[0]["refused"] == {"node 12": "no answer within 2 s"}
    assert sorted(state.history[0]["sites"]) == ["site1", "site2"]
    assert sorted(state.history[1]["sites"]) == ["site1", "site2", "site3"]
    assert state.shared.vector[6] == 1.5 + 2


def test_a_reply_that_flower_cannot_put_together_costs_only_its_site(make_world: Callable[..., Any]) -> None:
    class Broken(type(make_world().grid())):  # type: ignore[misc]
        """Of site 3 comes something that is no message."""

        def pull_messages(self, message_ids: Any) -> list[Message]:
            replies: list[Message] = super().pull_messages(message_ids)
            if replies and replies[0].metadata.src_node_id == 12:
                raise AttributeError("'ConfigRecord' object has no attribute 'metadata'")
            return replies

    world = make_world(options={"rounds": 1})
    world.grid = lambda: Broken(world.app(), 3, 2)
    state = world.run()
    assert state.history[0]["refused"] == {"node 12": "its answer cannot be put together (AttributeError)"}
    assert state.shared.vector[6] == 1.5


def test_a_reply_to_another_request_is_none(make_world: Callable[..., Any]) -> None:
    class Swapped(type(make_world().grid())):  # type: ignore[misc]
        """Site 2 answers in the place of site 3."""

        def pull_messages(self, message_ids: Any) -> list[Message]:
            replies: list[Message] = super().pull_messages(message_ids)
            if replies and replies[0].metadata.src_node_id == 12:
                replies[0].metadata.__dict__["_reply_to_message_id"] = "of another"
            return replies

    world = make_world(options={"rounds": 1})
    world.grid = lambda: Swapped(world.app(), 3, 2)
    assert world.run().history[0]["refused"] == {"node 12": "its answer says that it answers another request"}


def test_a_superlink_that_does_not_answer_is_no_sites_fault(make_world: Callable[..., Any]) -> None:
    class Lost(type(make_world().grid())):  # type: ignore[misc]
        def pull_messages(self, message_ids: Any) -> list[Message]:
            raise httpx.ConnectError("refused")

    world = make_world()
    world.grid = lambda: Lost(world.app(), 3, 2)
    with pytest.raises(httpx.ConnectError):
        world.run()


@pytest.mark.parametrize("failing_round", [1, 2])
def test_a_missed_quorum_names_sites_and_reasons(world: Any, failing_round: int) -> None:
    def fail(script: Any) -> RecordDict:
        if script.round == failing_round:
            raise OSError(SECRET)
        return script.reply()

    world.replies = {2: fail, 3: fail}
    with pytest.raises(FederationError) as caught:
        world.run()
    message = str(caught.value)
    assert message.startswith(
        f"round {failing_round}: 1 of 3 sites accepted, the quorum is 2 (node 11: the site failed: "
    )
    assert "node 12: the site failed: OSError; its own log says why" in message
    assert "resume when the cause is mended" in message
    assert SECRET not in message
    saved = world.store.load()
    assert (saved.round if saved else 0) == failing_round - 1
    # Mended, it goes on from there and ends as if nothing had happened.
    world.replies = {}
    assert world.run().shared.vector.tolist() == [5.0] * 6 + [4.0] * 2


def test_a_missed_quorum_at_the_end_does_not_lose_the_rounds(world: Any) -> None:
    def fail(script: Any) -> RecordDict:
        if script.work == "finish":
            raise OSError
        return script.reply()

    world.replies = {1: fail, 2: fail}
    with pytest.raises(FederationError, match="round 3: 1 of 3 sites accepted"):
        world.run()
    assert world.store.load().round == 2
    world.replies, world.asked = {}, []
    assert world.run().finished
    assert {work for _, _, work in world.asked} == {"finish"}


def test_tensors_that_nobody_asked_for(world: Any) -> None:
    world.replies = {2: lambda script: script.reply(script.received.pack())}
    state = world.run()
    assert "sent tensors that nobody asked for" in state.history[2]["refused"]["site2"]
    assert sorted(state.history[2]["sites"]) == ["site1", "site3"]


def test_too_few_sites_are_not_awaited_for_ever(world: Any) -> None:
    world.options = {"deadline_s": 0.3}
    world.sites = 1
    grid = world.grid()
    world.sites = 3
    world.grid = lambda: grid
    with pytest.raises(FederationError, match=r"1 of 3 sites connected within 0\.3 s, the quorum is 2; start the"):
        world.run()


def test_enough_sites_begin_without_the_others(world: Any) -> None:
    world.options = {"deadline_s": 2}
    world.sites = 2
    grid = world.grid()
    world.sites = 3
    world.grid = lambda: grid
    assert sorted(world.run().history[0]["sites"]) == ["site1", "site2"]


@pytest.mark.parametrize("after", range(8))
def test_must_hold_8_stopped_anywhere_and_resumed_is_the_same_run(make_world: Callable[..., Any], after: int) -> None:
    """`stopped` is asked before each reply: after 0..2 in round 1, 3..5 in round 2, 6 and 7 in the last exchange."""
    straight = make_world("straight").run()
    world = make_world("stopped")
    asked = iter(range(100))
    with pytest.raises(InterruptedRunError, match=f"stopped in round {after // 3 + 1}; .*resume with --resume"):
        world.run(stopped=lambda: next(asked) >= after)
    saved = world.store.load()
    assert (saved.round if saved else 0) == after // 3
    resumed = world.run()
    assert resumed.shared.vector.tobytes() == straight.shared.vector.tobytes()
    assert _timeless(resumed.history) == _timeless(straight.history)
    lines = [json.loads(line) for line in (world.folder / "history.jsonl").read_text().splitlines()]
    assert _timeless(lines) == _timeless(straight.history)


def test_stopped_while_waiting_for_sites(world: Any) -> None:
    world.sites = 1
    grid = world.grid()
    world.sites = 3
    world.grid = lambda: grid
    with pytest.raises(InterruptedRunError, match="stopped while waiting for sites"):
        world.run(stopped=lambda: True)


def test_a_finished_run_asks_nobody(world: Any) -> None:
    first = world.run()
    world.asked = []
    again = world.run()
    assert world.asked == []
    assert again.shared.vector.tobytes() == first.shared.vector.tobytes()


class Collapsing(Broadcast):
    """A server step that stops in round 2."""

    def __init__(self) -> None:
        super().__init__({})
        self.loaded: Mapping[str, Tensor] = {}

    def advance(self, mean: Update, number: int) -> tuple[Update, dict[str, float]]:
        return mean, {"serq_stopped": 1.0} if number >= 2 else {}


def test_a_collapse_is_said_once_and_the_run_goes_on(
    make_world: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(step=Collapsing(), options={"rounds": 4})
    with caplog.at_level(logging.WARNING, "fedsurg.server"):
        assert world.run().round == 4
    (message,) = [record.getMessage() for record in caplog.records if "SERQ is stopped" in record.getMessage()]
    assert message.startswith("round 2: the variance of the instrument target fell below its limit")


def test_a_checkpoint_that_cannot_be_written_ends_the_run(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Any, _tensors: Any, facts: Mapping[str, Any]) -> None:
        if facts["round"] == 2:
            raise CheckpointError("disk is full")
        write(_path, _tensors, facts)

    import server.checkpoint

    write = server.checkpoint.write_tensors
    monkeypatch.setattr(server.checkpoint, "write_tensors", full)
    with pytest.raises(CheckpointError, match="disk is full"):
        world.run()
    assert world.store.load().round == 1
    monkeypatch.undo()
    assert world.run().shared.vector.tolist() == [5.0] * 6 + [4.0] * 2


def test_numbers_that_json_does_not_know_are_none(world: Any) -> None:
    world.replies = {1: lambda script: script.reply(facts=_facts(train_loss=float("inf")))}
    world.run()
    text = (world.folder / "history.jsonl").read_text()
    assert "Infinity" not in text
    assert "NaN" not in text
    assert json.loads(text.splitlines()[0])["sites"]["site1"]["train_loss"] is None


def _timeless(history: Any) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in history]

"""The inline grid: a wire in one process."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from simulations.inline import FIRST_NODE, SITE_DIED, SITE_SILENT, InlineGrid


def app_of(handle: Callable[[Message, Context], RecordDict]) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return Message(handle(message, context), reply_to=message)

    return app


def echo(message: Message, _context: Context) -> RecordDict:
    return message.content


def message_to(node: int, **numbers: Any) -> Message:
    content = RecordDict({"numbers": ConfigRecord({"node": node, **numbers})})
    return Message(content, dst_node_id=node, message_type="train", ttl=60.0)


def test_nodes_answer_in_order_and_know_who_they_are() -> None:
    seen: list[int] = []

    def handle(message: Message, context: Context) -> RecordDict:
        seen.append(int(context.node_config["partition-id"]))
        return message.content

    grid = InlineGrid(app_of(handle), 3, 5.0)
    nodes = list(grid.get_node_ids())
    assert nodes == [FIRST_NODE, FIRST_NODE + 1, FIRST_NODE + 2]
    replies = list(grid.send_and_receive([message_to(node) for node in nodes]))
    assert seen == [0, 1, 2]
    assert [reply.content["numbers"]["node"] for reply in replies] == nodes
    assert [reply.metadata.src_node_id for reply in replies] == nodes


def test_one_node_is_asked_at_each_pull() -> None:
    asked: list[int] = []
    grid = InlineGrid(app_of(lambda message, context: asked.append(1) or message.content), 2, 5.0)
    ids = list(grid.push_messages([message_to(10), message_to(11)]))
    assert asked == []
    (first,) = grid.pull_messages(ids)
    assert (len(asked), first.metadata.reply_to_message_id) == (1, ids[0])
    (second,) = grid.pull_messages(ids)
    assert second.metadata.reply_to_message_id == ids[1]
    assert list(grid.pull_messages(ids)) == []


def test_what_arrives_shares_no_memory_with_what_was_sent() -> None:
    kept: list[RecordDict] = []

    def keep(message: Message, _context: Context) -> RecordDict:
        kept.append(message.content)
        return message.content

    sent = np.ones(4, np.float32)
    record = ArrayRecord({"a": Array("float32", (4,), "raw", sent.tobytes())})
    message = Message(RecordDict({"update": record}), dst_node_id=10, message_type="train", ttl=60.0)
    (reply,) = InlineGrid(app_of(keep), 1, 5.0).send_and_receive([message])
    kept[0].array_records["update"]["a"].data = b"changed"
    assert message.content.array_records["update"]["a"].data == sent.tobytes()
    assert reply.content.array_records["update"]["a"].data == sent.tobytes()


@pytest.mark.parametrize("problem", [ValueError("/secret"), SystemExit("/secret"), MemoryError("/secret")])
def test_a_site_that_dies_answers_with_the_class_of_its_error(problem: BaseException) -> None:
    def die(_message: Message, _context: Context) -> RecordDict:
        raise problem

    (reply,) = InlineGrid(app_of(die), 1, 5.0).send_and_receive([message_to(10)])
    assert (reply.error.code, reply.error.reason) == (SITE_DIED, type(problem).__name__)


def test_a_silent_site_is_given_up_and_asked_again_when_it_is_free() -> None:
    free, done = threading.Event(), threading.Event()

    def wait(message: Message, _context: Context) -> RecordDict:
        if message.content["numbers"]["number"] == 1:
            free.wait(20)
            done.set()
        return message.content

    grid = InlineGrid(app_of(wait), 2, 0.2)
    answers = [next(iter(grid.send_and_receive([message_to(10, number=1)])))]
    answers += grid.send_and_receive([message_to(10, number=2)])
    (other,) = grid.send_and_receive([message_to(11, number=2)])
    assert [(reply.error.code, reply.error.reason) for reply in answers] == [
        (SITE_SILENT, "no answer within 0.2 s"),
        (SITE_SILENT, "still busy with an earlier message"),
    ]
    assert other.has_content()
    free.set()
    assert done.wait(5)
    for _ in range(50):
        (again,) = grid.send_and_receive([message_to(10, number=3)])
        if again.has_content():
            break
    assert again.content["numbers"]["number"] == 3


def test_ctrl_c_is_not_taken_for_a_dead_site() -> None:
    def stop(_message: Message, _context: Context) -> RecordDict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlineGrid(app_of(stop), 1, 5.0).send_and_receive([message_to(10)])


def test_the_time_for_all_is_limited() -> None:
    grid = InlineGrid(app_of(echo), 2, 5.0)
    assert list(grid.send_and_receive([message_to(10), message_to(11)], timeout=0)) == []

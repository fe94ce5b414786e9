"""The inline engine: a Flower Grid in one process.

It calls the ClientApp directly and copies each message as a wire would. Sites are
asked one after the other, each only when its reply is pulled, so that one site's memory is in use at a time.
"""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

RUN_ID, SERVER_NODE, TASK_ID = 1, 1, 1
FIRST_NODE = 10
SITE_DIED, SITE_SILENT = 101, 102


class InlineGrid(Grid):
    """Nodes `FIRST_NODE`.. each hold partition 0.. of the ClientApp.

    Args:
        client_app: answers for every node; `context.node_config["partition-id"]` tells it which one.
        nodes: how many.
        deadline_s: a node that has not answered by then is given up (its thread is abandoned).
    """

    def __init__(self, client_app: ClientApp, nodes: int, deadline_s: float) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, SERVER_NODE, TASK_ID
        self._app, self._deadline_s = client_app, deadline_s
        self._contexts = {
            FIRST_NODE + index: Context(
                RUN_ID, FIRST_NODE + index, {"partition-id": index, "num-partitions": nodes}, RecordDict(), {}
            )
            for index in range(nodes)
        }
        self._pending: dict[str, Message] = {}
        self._numbers = itertools.count(1)
        self._worker = _Worker()
        self._silent: dict[int, Future[Message]] = {}  # nodes that are still busy with an earlier message

    def set_run(self, run: Run) -> None:
        """There is one run only."""

    @property
    def run(self) -> Run:
        """The one run."""
        return Run.create_empty(RUN_ID)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message to one node."""
        return Message(content, dst_node_id=dst_node_id, message_type=message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes, in order."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Keep the messages until their replies are pulled."""
        ids = []
        for message in messages:
            identity = f"message-{next(self._numbers)}"
            message.metadata.__dict__["_message_id"] = identity
            self._pending[identity] = message
            ids.append(identity)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Run the next node among `message_ids` and return its reply; nothing when all have answered."""
        for identity in message_ids:
            if identity in self._pending:
                return [self._deliver(self._pending.pop(identity))]
        return []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Run all nodes, in order, until `timeout` seconds have passed."""
        ids = list(self.push_messages(messages))
        deadline = time.monotonic() + (timeout if timeout is not None else float("inf"))
        replies: list[Message] = []
        while len(replies) < len(ids) and time.monotonic() < deadline:
            replies += self.pull_messages(ids)
        return replies

    def _deliver(self, message: Message) -> Message:
        received = _over_the_wire(message)
        node = message.metadata.dst_node_id
        if node in self._silent and not self._silent[node].done():
            return Message(Error(SITE_SILENT, "still busy with an earlier message"), reply_to=received)
        answer = self._worker.start(lambda: self._app(received, self._contexts[node]))
        try:
            reply = answer.result(self._deadline_s)
        except TimeoutError:
            self._silent[node] = answer
            self._worker = _Worker()  # the old one is still busy with the silent site
            return Message(Error(SITE_SILENT, f"no answer within {self._deadline_s:g} s"), reply_to=received)
        except BaseException as problem:
            if isinstance(problem, KeyboardInterrupt):
                raise
            return Message(Error(SITE_DIED, type(problem).__name__), reply_to=received)
        return _over_the_wire(reply)


class _Worker:
    """One long-lived thread that runs calls, so that a caller can stop waiting for one."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Message], Future[Message]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True, name="site").start()

    def start(self, function: Callable[[], Message]) -> Future[Message]:
        future: Future[Message] = Future()
        self._calls.put((function, future))
        return future

    def _run(self) -> None:
        while True:
            function, future = self._calls.get()
            try:
                future.set_result(function())
            except BaseException as problem:
                future.set_exception(problem)


def _over_the_wire(message: Message) -> Message:
    """Serialise and parse: what arrives shares no memory with what was sent."""
    proto = ProtoMessage.FromString(message_to_proto(message).SerializeToString())
    return message_from_proto(proto)


def run_inline(server_app: ServerApp, client_app: ClientApp, nodes: int, deadline_s: float) -> None:
    """Run a ServerApp against `nodes` copies of a ClientApp in this process."""
    grid = InlineGrid(client_app, nodes, deadline_s)
    server_app(grid, Context(RUN_ID, SERVER_NODE, {}, RecordDict(), {}))

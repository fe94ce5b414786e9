"""A hospital without SuperNode and worker: one thread that answers the coordinator's messages by a function.

It speaks Flower's own Fleet protocol over mutual TLS with the keys of a site that has joined. Benchmarks use many of
them on one machine, faults use it for what an honest hospital never sends.
"""

import contextlib
import logging
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app.message.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents, pull_objects, push_objects
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fedsurg.audit.heads import sign_head
from fedsurg.joining.keys import read_private_key
from fedsurg.sharing.protocol import HEAD, LAYOUT, ORIGIN, REPORT, REQUEST, UPDATE, VECTOR, Report
from site_client.enrolment import read_node_private_key
from site_client.layout import AUTHORITY, IDENTITY, NODE_KEY
from site_client.site_folder import read_membership, site_log

POLL_S, BEAT_S = 0.3, 10.0  # between two looks for a message; between two heartbeats (Flower's: 3 and 30)
INTERVAL_S = 30.0  # of heartbeats, as told to the SuperLink

log = logging.getLogger("fedsurg.simulations")

Answer = Callable[[RecordDict], RecordDict]

_identity = threading.Lock()  # Flower keeps the author of messages once per process


class ThinSite:
    """One site's node.

    Args:
        folder: of a site that has joined.
        answer: from a message's content to the reply's.
    """

    def __init__(self, folder: Path, answer: Answer) -> None:
        membership = read_membership(folder)
        self.name, self._answer = membership.site, answer
        self._log = site_log(folder)
        self._key = read_private_key(folder / IDENTITY)
        context = ssl.create_default_context(cafile=str(folder / AUTHORITY))
        context.load_cert_chain(folder / IDENTITY)
        key = read_node_private_key(folder / NODE_KEY)
        self._public_key = public_key_to_bytes(key.public_key())
        self._client = FleetHttpClient(
            f"https://{membership.address}",
            verify=context,
            interceptors=[NodeAuthHttpInterceptor(key, key.public_key())],
            timeout=60.0,
        )
        self._node = Node()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def start(self) -> None:
        """Be there, and answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Be gone."""
        self._over.set()
        self._thread.join(30.0)
        with contextlib.suppress(httpx.HTTPError):
            self._client.DeactivateNode(DeactivateNodeRequest(node_id=self._node.node_id))
        self._client.close()

    def _run(self) -> None:
        beaten = -BEAT_S
        while not self._over.wait(POLL_S):
            try:
                if not self._node.node_id:
                    request = ActivateNodeRequest(public_key=self._public_key, heartbeat_interval=INTERVAL_S)
                    self._node = Node(node_id=self._client.ActivateNode(request).node_id)
                if time.monotonic() - beaten > BEAT_S:
                    beaten = time.monotonic()
                    self._client.SendNodeHeartbeat(
                        SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=INTERVAL_S)
                    )
                self._turn()
            except (httpx.HTTPError, RuntimeError, ValueError) as problem:
                log.warning("%s: %s: %s", self.name, type(problem).__name__, problem)

    def _turn(self) -> None:
        """Take one message, if there is one, and answer it."""
        found = self._client.PullMessages(PullMessagesRequest(node=self._node))
        if not found.messages_list:
            return
        message = message_from_proto(found.messages_list[0])
        run_id, tree = message.metadata.run_id, found.message_object_trees[0]
        content = self._content(run_id, tree)
        confirm = make_confirm_message_received_fn_protobuf(self._client.ConfirmMessageReceived, self._node, run_id)
        confirm(message.metadata.message_id)
        answer = self._answer(content)
        answer[HEAD] = ConfigRecord({**sign_head(self._log, self.name, self._key).facts()})
        with _identity:
            TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, self._node.node_id, 1
            reply = Message(answer, reply_to=message)
        self._push(reply)

    def _content(self, run_id: int, tree: ObjectTree) -> RecordDict:
        pull = make_pull_object_fn_protobuf(self._client.PullObject, self._node, run_id)
        contents = pull_objects([part.object_id for part in iterate_object_tree(tree)], pull_object_fn=pull)
        message: Any = inflate_object_from_contents(tree.object_id, contents)
        content: RecordDict = message.content
        return content

    def _push(self, reply: Message) -> None:
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            tree, objects = get_object_tree(reply), get_all_nested_objects(reply)
        proto = message_to_proto(remove_content_from_message(reply))
        wanted = self._client.PushMessages(
            PushMessagesRequest(
                node=self._node, messages_list=[proto], message_object_trees=[tree], clientapp_runtime_list=[0.0]
            )
        )
        run_id = reply.metadata.run_id
        push = make_push_object_fn_protobuf(self._client.PushObject, self._node, run_id, wanted.session_id)
        push_objects(objects, push, object_ids_to_push=set(wanted.objects_to_push))


def echo(site: str) -> Answer:
    """The answer of a site that has learnt nothing: the update comes back as it went out."""

    def answer(content: RecordDict) -> RecordDict:
        finished = content.config_records[REQUEST]["work"] == "finish"
        reply = RecordDict({REPORT: MetricRecord(dict(Report(1).facts())), ORIGIN: ConfigRecord({"site": site})})
        reply[UPDATE] = empty() if finished else content[UPDATE]
        reply[LAYOUT] = ConfigRecord({"names": [], "shapes": []}) if finished else content[LAYOUT]
        return reply

    return answer


def empty() -> ArrayRecord:
    """The update of a reply that holds no tensors."""
    return ArrayRecord({VECTOR: Array("float32", (0,), "raw", b"")})

"""What a request says about its author, held against who the author is.

Flower's SuperLink looks at the signature, and that the node id is the key's. It does not look at the source of a pushed
message, nor does it know certificates: both are done here. The body is read by the same parser as the SuperLink's.
"""

import base64
import binascii
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.common.constant import SUPERLINK_NODE_ID, SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PushObjectRequest
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER
from google.protobuf.message import DecodeError

from fedsurg.joining.keys import read_node_key
from fedsurg.relay import (
    ACTIVATE,
    GET_FAB,
    PREFIX,
    PULL_MESSAGES,
    PULL_OBJECT,
    PUSH_MESSAGES,
    PUSH_OBJECT,
    RefusedError,
)

DEACTIVATE = f"{PREFIX}deactivate-node"
REQUESTS: dict[str, Any] = {
    ACTIVATE: ActivateNodeRequest,
    DEACTIVATE: DeactivateNodeRequest,
    f"{PREFIX}send-node-heartbeat": SendNodeHeartbeatRequest,
    PULL_MESSAGES: PullMessagesRequest,
    PUSH_MESSAGES: PushMessagesRequest,
    f"{PREFIX}get-run": GetRunRequest,
    GET_FAB: GetFabRequest,
    PUSH_OBJECT: PushObjectRequest,
    PULL_OBJECT: PullObjectRequest,
    f"{PREFIX}confirm-message-received": ConfirmMessageReceivedRequest,
}

# A timestamp is taken for this long, and may be this far in the future: seconds.
WINDOW = TIMESTAMP_TOLERANCE + 2 * SYSTEM_TIME_TOLERANCE
FORGED = "forged"  # reason of refusals that mean: a site says it is another


def header_key(headers: Any, node_public_key: str, site: str) -> bytes:
    """The key in a request's header (PEM), if it is the site's node key (OpenSSH line).

    Raises:
        RefusedError: it is another, or none.
    """
    key = read_node_key(node_public_key, f"{site}.json")
    own = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        given = base64.b64decode(headers.get(FLEET_HTTP_PUBLIC_KEY_HEADER, ""), validate=True)
    except (binascii.Error, ValueError):
        given = b""
    if given != own:
        raise RefusedError(401, FORGED, f"{site} came with a node key that is not the one it joined with")
    return own


def timestamp_of(headers: Any, site: str, now: datetime) -> str:
    """The signed time in a request's header, if Flower takes it at `now`.

    Raises:
        RefusedError: it is none, or a clock is wrong.
    """
    text: str = headers.get(TIMESTAMP_HEADER, "")
    try:
        age = (now - datetime.fromisoformat(text).astimezone(UTC)).total_seconds()
    except (ValueError, OverflowError):
        raise RefusedError(401, "clock", f"{site} signed no time") from None
    if not -SYSTEM_TIME_TOLERANCE < age < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE:
        raise RefusedError(
            401,
            "clock",
            f"the clock of {site} is {abs(age):.0f} s {'behind' if age > 0 else 'ahead'}; at most "
            f"{SYSTEM_TIME_TOLERANCE} s ahead is taken: set the clocks by a time service",
        )
    return text


def seconds_left(headers: Any, now: datetime) -> float:
    """For which Flower still takes a request whose time `timestamp_of` took, by any clock it may have."""
    signed = datetime.fromisoformat(headers[TIMESTAMP_HEADER]).astimezone(UTC)
    return float(TIMESTAMP_TOLERANCE - (now - signed).total_seconds())


def read_claims(path: str, body: bytes, key: bytes, site: str) -> int:
    """The node that a request's body names as its author; 0: it asks for that. Verify what needs nothing else.

    1. It is a whole message of its path's kind.
    2. A node that wants its id names the key of the header.
    3. Every other request names a node.
    4. A pushed message is one message, from that very node, to the SuperLink, in answer to another.

    Args:
        path: of the request.
        body: its bytes.
        key: of the header.
        site: for what is said in a refusal.

    Raises:
        RefusedError: the step that failed.
    """
    # 1.
    request = REQUESTS[path]()
    try:
        request.ParseFromString(body)
    except DecodeError:
        raise RefusedError(400, "form", f"{site} sent a body that is not one of {path}") from None
    # 2.
    if path == ACTIVATE:
        if request.public_key != key:
            raise RefusedError(403, FORGED, f"{site} asked for the node of a key that is not its own")
        return 0
    # 3.
    node_id = int(request.node_id if hasattr(request, "node_id") else request.node.node_id)
    if node_id in (0, SUPERLINK_NODE_ID):
        raise RefusedError(403, FORGED, f"{site} named {node_id} as its node")
    # 4.
    if path == PUSH_MESSAGES:
        _require_own_answer(request, node_id, site)
    return node_id


def _require_own_answer(request: PushMessagesRequest, node_id: int, site: str) -> None:
    if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
        raise RefusedError(
            400, "form", f"{site} pushed {len(request.messages_list)} messages at once; it has to be one"
        )
    facts = request.messages_list[0].metadata
    if facts.src_node_id != node_id:
        raise RefusedError(403, FORGED, f"{site} (node {node_id}) pushed a message from node {facts.src_node_id}")
    if facts.dst_node_id != SUPERLINK_NODE_ID or not facts.reply_to_message_id:
        raise RefusedError(403, FORGED, f"{site} pushed a message that answers none of the SuperLink's")


class NodeIds:
    """Which node each site is, as the SuperLink says.

    A node id is learnt from an answer: to activate-node, which holds it, or to any other request, as the SuperLink
    answers only if the id is that of the key in the header, and that key is the site's. So nothing is kept over a
    restart of the gateway, and a SuperLink with a new database needs no word about it: where the SuperLink refuses an
    id (401), it is forgotten.
    """

    def __init__(self) -> None:
        self._of: dict[str, int] = {}

    def require(self, site: str, node_id: int) -> None:
        """The id is the site's, or nobody's yet (0: it asks for one).

        Raises:
            RefusedError: it is another's, or the site has another.
        """
        if not node_id:
            return
        own = self._of.get(site)
        other = next((name for name, known in self._of.items() if known == node_id and name != site), None)
        if other or own not in (None, node_id):
            said = f"the node of {other}" if other else f"not its own, {own}"
            raise RefusedError(403, FORGED, f"{site} named node {node_id}, which is {said}")

    def learn(self, site: str, path: str, node_id: int, status: int, answer: bytes) -> None:
        """From the SuperLink's answer to a request that was passed on."""
        if status == 401:
            self._of.pop(site, None)
        elif status == 200 and path == ACTIVATE:
            self._of[site] = int(ActivateNodeResponse.FromString(answer).node_id)
        elif status == 200 and path != DEACTIVATE:
            self._of[site] = node_id

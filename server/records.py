"""Requests and replies as Flower messages: the only place in this package that knows how they look on the wire."""

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.common.serde import message_to_proto

from fedsurg.errors import ContractError
from fedsurg.sharing.protocol import ORIGIN, REPORT, REQUEST, UPDATE, Report, Request
from fedsurg.sharing.update import Update, WireTensor


class Outgoing:
    """One request to many sites: the tensors are copied once, all messages share them."""

    def __init__(self, request: Request, update: Update, deadline_s: float) -> None:
        arrays = {name: Array(dtype, shape, "raw", data) for name, (dtype, shape, data) in update.to_wire().items()}
        self._content = RecordDict(
            {UPDATE: ArrayRecord(arrays, keep_input=False), REQUEST: ConfigRecord({**request.facts()})}
        )
        self._round, self._ttl = request.round, deadline_s

    def to(self, node: int) -> Message:
        """The message for one node."""
        return Message(
            self._content,
            dst_node_id=node,
            message_type=MessageType.TRAIN,
            ttl=self._ttl,
            group_id=str(self._round),
        )


def read_reply(message: Message) -> tuple[str, dict[str, WireTensor], Report]:
    """A site's name, raw tensors and report.

    Raises:
        ContractError: the reply is an error, or lacks or adds a record or field.
    """
    if message.has_error():
        raise ContractError(f"the site failed: {str(message.error.reason)[:200]}; its own log says why")
    content = message.content
    if set(content) != {UPDATE, REPORT, ORIGIN} or UPDATE not in content.array_records:
        raise ContractError(f"the reply has the records {sorted(content)}, expected {sorted((UPDATE, REPORT, ORIGIN))}")
    name = content.config_records[ORIGIN].get("site") if ORIGIN in content.config_records else None
    if not isinstance(name, str) or not 0 < len(name) <= 64 or len(content.config_records[ORIGIN]) != 1:
        raise ContractError("the reply does not say which site it is from")
    wire: dict[str, WireTensor] = {
        key: (array.dtype, tuple(array.shape), array.data) for key, array in content.array_records[UPDATE].items()
    }
    return name, wire, Report.from_facts(content.metric_records.get(REPORT, {}))


def message_bytes(message: Message) -> int:
    """Bytes of a message as Flower serialises it, tensors and framing."""
    return int(message_to_proto(message).ByteSize())

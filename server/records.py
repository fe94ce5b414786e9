"""Requests and replies as Flower messages: the only place in this package that knows how they look on the wire."""

from collections.abc import Mapping
from dataclasses import dataclass

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_to_proto

from fedsurg.errors import ContractError, one_line
from fedsurg.sharing.protocol import HEAD, LAYOUT, ORIGIN, REPORT, REQUEST, UPDATE, VECTOR, Report, Request, Scalar
from fedsurg.sharing.update import Packed, Update

Fields = Mapping[str, object]

# Where the SuperLink answers in place of a site.
_GONE: Mapping[int, str] = {
    ErrorCode.MESSAGE_UNAVAILABLE: "no answer in time",
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "its answer did not arrive whole",
    ErrorCode.NODE_UNAVAILABLE: "the connection to its node is lost",
}

# What the errors of a site that ran out of memory are called, on a GPU and elsewhere.
_SHORT_OF_MEMORY = {"OutOfMemoryError", "MemoryError"}


class Outgoing:
    """One request to many sites: the tensors are copied once, all messages share them.

    Args:
        request: what is asked.
        update: the shared tensors.
        deadline_s: after which the message is void.
        head: the record HEAD; empty: none.
    """

    def __init__(
        self, request: Request, update: Update, deadline_s: float, head: Mapping[str, Scalar] | None = None
    ) -> None:
        packed = update.pack()
        vector = Array(packed.dtype, (update.layout.size,), "raw", packed.data)
        self._content = RecordDict(
            {
                UPDATE: ArrayRecord({VECTOR: vector}, keep_input=False),
                LAYOUT: ConfigRecord({"names": list(packed.names), "shapes": list(packed.shapes)}),
                REQUEST: ConfigRecord({**request.facts()}),
            }
        )
        if head:
            self._content[HEAD] = ConfigRecord({**head})
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


@dataclass(frozen=True)
class Reply:
    """What came from a site, taken apart and not yet checked; `head` is its record HEAD, empty if there is none."""

    site: str
    packed: Packed
    report: Report
    head: Fields


def read_reply(message: Message) -> Reply:
    """A site's name, its update as it came, its report and its audit head.

    Raises:
        ContractError: the reply is an error, lacks or adds a record or field, or cannot be read.
    """
    try:
        return _read(message)
    except ContractError:
        raise
    except Exception as problem:  # a site may send whatever Flower can carry, in any place
        raise ContractError(f"the reply cannot be read ({type(problem).__name__})") from problem


def _failure(reason: str) -> str:
    said = f"the site failed: {one_line(reason, 200)}; its own log says why"
    if reason in _SHORT_OF_MEMORY:
        return f"{said}; a smaller local.batch_size needs less memory, in a simulation fewer --jobs"
    return said


def _read(message: Message) -> Reply:
    if message.has_error():
        raise ContractError(_GONE.get(message.error.code) or _failure(str(message.error.reason)))
    content = message.content
    expected = {UPDATE, LAYOUT, REPORT, ORIGIN}
    if set(content) - {HEAD} != expected or list(content.array_records.get(UPDATE, {})) != [VECTOR]:
        raise ContractError(f"the reply has the records {sorted(content)}, expected {sorted(expected)}")
    origin: Fields = content.config_records.get(ORIGIN, {})
    layout: Fields = content.config_records.get(LAYOUT, {})
    name = origin.get("site")
    if not isinstance(name, str) or not 0 < len(name) <= 64 or len(origin) != 1:
        raise ContractError("the reply does not say which site it is from")
    names, shapes = layout.get("names"), layout.get("shapes")
    if not isinstance(names, list) or not isinstance(shapes, list) or len(layout) != 2:
        raise ContractError("the reply does not say which tensors it holds")
    vector = content.array_records[UPDATE][VECTOR]
    packed = Packed(tuple(map(str, names)), tuple(map(str, shapes)), vector.data, vector.dtype)
    report = Report.from_facts(content.metric_records.get(REPORT, {}))
    return Reply(name, packed, report, content.config_records.get(HEAD, {}))


def message_bytes(message: Message) -> int:
    """Bytes of a message as Flower serialises it, tensors and framing."""
    return int(message_to_proto(message).ByteSize())

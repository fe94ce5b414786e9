"""A site's side of a message: Flower's records as plain values, and back; the ClientApp around whoever answers.

The inline engine answers with a site engine in the same process, a hospital's thin ClientApp with its worker. Errors
leave the site as their class name alone: messages of errors can hold paths and case names, which stay in its own log.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedsurg.audit.heads import SignedHead
from fedsurg.errors import ContractError, debugging
from fedsurg.sharing.contract import BYTES_PER_VALUE
from fedsurg.sharing.protocol import CERTIFICATE, HEAD, LAYOUT, ORIGIN, REPORT, REQUEST, UPDATE, VECTOR, Report, Request
from fedsurg.sharing.update import Packed

log = logging.getLogger("fedsurg.site")

SITE_RAISED = 100  # Flower's own error codes end far below


@dataclass(frozen=True)
class Asked:
    """What a message asks.

    Args:
        request: what is to be done.
        packed: the shared tensors, as they came.
        head: of the coordinator's audit log; a simulation has none.
        certificate: PEM, of the key that signed it.
    """

    request: Request
    packed: Packed
    head: SignedHead | None = None
    certificate: str = ""


@dataclass(frozen=True)
class Answered:
    """What a site answers; `head` is that of its audit log, where it has one."""

    site: str
    packed: Packed
    report: Report
    head: SignedHead | None = None


class FailedError(Exception):
    """The work failed elsewhere, with an error whose class name is `reason`: all that is known of it here."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def client_app(answer: Callable[[Asked, Message, Context], Answered]) -> ClientApp:
    """A ClientApp that asks `answer` and turns what it raises into an error without text."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        try:
            content = content_of(answer(asked_of(message.content), message, context))
        except Exception as problem:
            name = problem.reason if isinstance(problem, FailedError) else type(problem).__name__
            log.error(
                "round %s failed at this site: %s: %s", message.metadata.group_id, name, problem, exc_info=debugging()
            )
            return Message(Error(SITE_RAISED, name), reply_to=message)
        return Message(content, reply_to=message)

    return app


def asked_of(content: RecordDict) -> Asked:
    """What a message's content asks.

    Raises:
        ContractError: a record is missing, or a field of one is missing, unknown or ill-typed.
        AuditError: the head is none.
    """
    if REQUEST not in content.config_records or VECTOR not in content.array_records.get(UPDATE, {}):
        raise ContractError(f"the message lacks the records {REQUEST!r} and {UPDATE!r}")
    request = Request.from_facts(content.config_records[REQUEST])
    vector = content.array_records[UPDATE][VECTOR]
    layout: Any = content.config_records.get(LAYOUT, {})
    names, shapes = layout.get("names"), layout.get("shapes")
    if not isinstance(names, list) or not isinstance(shapes, list):
        raise ContractError("the message does not say which tensors it holds")
    packed = Packed(tuple(map(str, names)), tuple(map(str, shapes)), vector.data, vector.dtype)
    if HEAD not in content.config_records:
        return Asked(request, packed)
    head: dict[str, Any] = dict(content.config_records[HEAD])
    certificate = str(head.pop(CERTIFICATE, ""))
    return Asked(request, packed, SignedHead.from_facts(head), certificate)


def content_of(answered: Answered) -> RecordDict:
    """The content of the reply."""
    packed = answered.packed
    vector = Array(packed.dtype, (len(packed.data) // BYTES_PER_VALUE,), "raw", packed.data)
    content = RecordDict(
        {
            UPDATE: ArrayRecord({VECTOR: vector}, keep_input=False),
            LAYOUT: ConfigRecord({"names": list(packed.names), "shapes": list(packed.shapes)}),
            REPORT: MetricRecord({**answered.report.facts()}),
            ORIGIN: ConfigRecord({"site": answered.site}),
        }
    )
    if answered.head:
        content[HEAD] = ConfigRecord({**answered.head.facts()})
    return content

"""The Flower ClientApp: turns one message into one call of the site engine, and its answer into the reply.

Flower is met here and nowhere else in this package. Errors leave the site as their class name alone: messages of
errors can hold paths and case names, which stay in the site's own log.
"""

import logging
from collections.abc import Callable, Mapping

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedsurg.errors import ContractError, debugging
from fedsurg.sharing.contract import BYTES_PER_VALUE
from fedsurg.sharing.protocol import LAYOUT, ORIGIN, REPORT, REQUEST, UPDATE, VECTOR, Request
from fedsurg.sharing.update import Packed
from site_client.engine import SiteEngine

log = logging.getLogger("fedsurg.site")

SITE_RAISED = 100  # Flower's own error codes end far below


def make_client_app(engine_of: Callable[[Context], SiteEngine]) -> ClientApp:
    """A ClientApp for the engines that `engine_of` finds by Flower's context (its node configuration)."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        try:
            engine = engine_of(context)
            content = answer(engine, message.content)
        except Exception as problem:
            why = f"{type(problem).__name__}: {problem}"
            log.error("round %s failed at this site: %s", message.metadata.group_id, why, exc_info=debugging())
            return Message(Error(SITE_RAISED, type(problem).__name__), reply_to=message)
        return Message(content, reply_to=message)

    return app


def answer(engine: SiteEngine, content: RecordDict) -> RecordDict:
    """The engine's answer to one message's content.

    Raises:
        ContractError: the message lacks a record, or the engine refuses it.
    """
    if REQUEST not in content.config_records or VECTOR not in content.array_records.get(UPDATE, {}):
        raise ContractError(f"the message lacks the records {REQUEST!r} and {UPDATE!r}")
    request = Request.from_facts(content.config_records[REQUEST])
    update, report = engine.work(request, _packed(content))
    packed = update.pack() if update else Packed((), (), b"")
    vector = Array(packed.dtype, (len(packed.data) // BYTES_PER_VALUE,), "raw", packed.data)
    return RecordDict(
        {
            UPDATE: ArrayRecord({VECTOR: vector}, keep_input=False),
            LAYOUT: ConfigRecord({"names": list(packed.names), "shapes": list(packed.shapes)}),
            REPORT: MetricRecord({**report.facts()}),
            ORIGIN: ConfigRecord({"site": engine.name}),
        }
    )


def _packed(content: RecordDict) -> Packed:
    vector = content.array_records[UPDATE][VECTOR]
    layout: Mapping[str, object] = content.config_records.get(LAYOUT, {})
    names, shapes = layout.get("names"), layout.get("shapes")
    if not isinstance(names, list) or not isinstance(shapes, list):
        raise ContractError("the message does not say which tensors it holds")
    return Packed(tuple(map(str, names)), tuple(map(str, shapes)), vector.data, vector.dtype)

"""The Flower ClientApp: turns one message into one call of the site engine, and its answer into the reply.

Flower is met here and nowhere else in this package. Errors leave the site as their class name alone: messages of
errors can hold paths and case names, which stay in the site's own log.
"""

import logging
from collections.abc import Callable

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedsurg.errors import ContractError
from fedsurg.sharing.protocol import ORIGIN, REPORT, REQUEST, UPDATE, Request
from fedsurg.sharing.update import WireTensor
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
            log.exception("round %s failed at this site", message.metadata.group_id)
            return Message(Error(SITE_RAISED, type(problem).__name__), reply_to=message)
        return Message(content, reply_to=message)

    return app


def answer(engine: SiteEngine, content: RecordDict) -> RecordDict:
    """The engine's answer to one message's content.

    Raises:
        ContractError: the message lacks a record, or the engine refuses it.
    """
    if REQUEST not in content.config_records or UPDATE not in content.array_records:
        raise ContractError(f"the message lacks the records {REQUEST!r} and {UPDATE!r}")
    request = Request.from_facts(content.config_records[REQUEST])
    wire: dict[str, WireTensor] = {
        name: (array.dtype, tuple(array.shape), array.data) for name, array in content.array_records[UPDATE].items()
    }
    update, report = engine.work(request, wire)
    tensors = update.to_wire() if update else {}
    return RecordDict(
        {
            UPDATE: ArrayRecord({n: Array(d, s, "raw", b) for n, (d, s, b) in tensors.items()}, keep_input=False),
            REPORT: MetricRecord({**report.facts()}),
            ORIGIN: ConfigRecord({"site": engine.name}),
        }
    )

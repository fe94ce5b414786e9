"""The Flower ClientApp of a simulation: one message is one call of a site engine in the same process.

A hospital's ClientApp is `site_client.bundle.client_app`; both read and write messages with its `records`.
"""

from collections.abc import Callable

from flwr.app import Context
from flwr.clientapp import ClientApp

from fedsurg.sharing.update import Packed
from site_client.bundle.records import Answered, Asked, client_app
from site_client.engine import SiteEngine


def make_client_app(engine_of: Callable[[Context], SiteEngine]) -> ClientApp:
    """A ClientApp for the engines that `engine_of` finds by Flower's context (its node configuration)."""
    return client_app(lambda asked, message, context: answer(engine_of(context), asked))


def answer(engine: SiteEngine, asked: Asked) -> Answered:
    """The engine's answer.

    Raises:
        FedsurgError: the engine refuses or fails.
    """
    update, report = engine.work(asked.request, asked.packed)
    return Answered(engine.name, update.pack() if update else Packed((), (), b""), report)

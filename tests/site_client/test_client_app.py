"""The ClientApp: nothing but the class of an error leaves the site."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from fedsurg.errors import DEBUG, ContractError, DataError
from fedsurg.sharing.protocol import LAYOUT, REQUEST, UPDATE, VECTOR, Report, Request
from fedsurg.sharing.update import Packed, Update
from server.records import Outgoing, read_reply
from simulations.inline import InlineGrid
from site_client.bundle.records import asked_of
from site_client.client_app import make_client_app

SECRET = "/srv/hospital/PATIENT-7.png"
FIRST = Update.of({"a": np.ones((2, 2), np.float32)})


class Engine:
    """Answers with the received update plus one."""

    name = "north"

    def work(self, request: Request, packed: Packed) -> tuple[Update | None, Report]:
        if request.work == "finish":
            return None, Report(3)
        return Update(np.frombuffer(packed.data, "<f4") + np.float32(1), FIRST.layout), Report(3, train_loss=0.5)


def exchange(engine_of: Callable[[Context], Any], content: RecordDict | None = None, work: str = "train") -> Message:
    """One message to a site and back, over the wire."""
    grid = InlineGrid(make_client_app(engine_of), 1, 5.0)
    message = Outgoing(Request("s", "c", 1, work), FIRST, 5.0).to(10)
    if content is not None:
        message.content = content
    (reply,) = grid.send_and_receive([message])
    return reply


def test_an_answer() -> None:
    reply = read_reply(exchange(lambda context: Engine()))
    packed, report = reply.packed, reply.report
    assert (reply.site, reply.head) == ("north", {})
    assert np.frombuffer(packed.data, "<f4").tolist() == [2.0] * 4
    assert (packed.names, packed.shapes) == (("a",), ("2x2",))
    assert (report.samples, report.train_loss) == (3, 0.5)


def test_the_last_answer_holds_no_tensors() -> None:
    reply = read_reply(exchange(lambda context: Engine(), work="finish"))
    assert reply.packed == Packed((), (), b"")


def test_the_text_of_an_error_stays_at_the_site(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_context: Context) -> Engine:
        raise DataError(f"{SECRET}: cannot be decoded")

    monkeypatch.delenv("FEDSURG_DEBUG", raising=False)
    with caplog.at_level(logging.ERROR, "fedsurg.site"):
        reply = exchange(fail)
    assert reply.has_error()
    assert reply.error.reason == "DataError"
    assert SECRET in caplog.text
    assert "Traceback" not in caplog.text
    monkeypatch.setenv(DEBUG, "1")
    exchange(fail)
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("record", [REQUEST, UPDATE, LAYOUT])
def test_a_message_without_a_record(record: str, caplog: pytest.LogCaptureFixture) -> None:
    content = Outgoing(Request("s", "c", 1), FIRST, 5.0)._content
    del content[record]
    with pytest.raises(ContractError, match=r"the message (lacks the records|does not say which tensors)"):
        asked_of(content)
    reply = exchange(lambda context: Engine(), content)
    assert reply.error.reason == "ContractError"


def test_a_message_with_another_array() -> None:
    content = Outgoing(Request("s", "c", 1), FIRST, 5.0)._content
    array = content.array_records[UPDATE].pop(VECTOR)
    content.array_records[UPDATE]["other"] = array
    with pytest.raises(ContractError, match="the message lacks the records"):
        asked_of(content)


def test_a_message_with_an_extra_wish() -> None:
    content = Outgoing(Request("s", "c", 1), FIRST, 5.0)._content
    content[REQUEST] = ConfigRecord({**Request("s", "c", 1).facts(), "send": "everything"})
    with pytest.raises(ContractError, match=r"request lacks \[\] and has unlisted \['send'\]"):
        asked_of(content)

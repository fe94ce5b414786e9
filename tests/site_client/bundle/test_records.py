"""The audit heads in Flower's records: both ways, and optional."""

import numpy as np
import pytest

from fedsurg.audit.heads import SignedHead
from fedsurg.errors import AuditError
from fedsurg.sharing.protocol import HEAD, Report, Request
from fedsurg.sharing.update import Packed, Update
from server.records import Outgoing
from site_client.bundle.records import Answered, asked_of, content_of

HEAD_OF_NORTH = SignedHead("north", 7, "ab" * 32, "2026-03-01T12:00:00.000+00:00", "c2ln")
CERTIFICATE = "-----BEGIN CERTIFICATE-----"


def content(**head: object):
    from flwr.app import ConfigRecord

    found = Outgoing(Request("s", "c", 1), Update.of({"a": np.ones(2, np.float32)}), 5.0)._content
    if head:
        found[HEAD] = ConfigRecord(head)
    return found


def test_a_request_with_a_head_and_one_without() -> None:
    asked = asked_of(content(**HEAD_OF_NORTH.facts(), certificate=CERTIFICATE))
    assert (asked.head, asked.certificate) == (HEAD_OF_NORTH, CERTIFICATE)
    bare = asked_of(content())
    assert (bare.head, bare.certificate) == (None, "")
    assert bare.packed == asked.packed


def test_a_head_with_more_than_its_fields() -> None:
    with pytest.raises(AuditError, match="a signed head has the fields"):
        asked_of(content(**HEAD_OF_NORTH.facts(), more="than that"))


def test_an_answer_with_a_head_and_one_without() -> None:
    answered = Answered("north", Packed((), (), b""), Report(3), HEAD_OF_NORTH)
    found = content_of(answered)
    assert dict(found.config_records[HEAD]) == HEAD_OF_NORTH.facts()
    assert set(content_of(Answered("north", Packed((), (), b""), Report(3)))) == set(found) - {HEAD}

"""Requests and answers as streams: what goes in comes out, in small pieces, and nothing else passes."""

import math
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest

from fedsurg.audit.heads import SignedHead
from fedsurg.errors import ContractError
from fedsurg.sharing.protocol import Report, Request
from fedsurg.sharing.update import Packed
from site_client.bundle import worker_pb2 as pb
from site_client.bundle.records import Answered, Asked
from site_client.bundle.stream import CHUNK, answered_from, asked_from, events_of, parts_of

DATA = bytes(range(256)) * (CHUNK // 64)  # four chunks
PACKED = Packed(("a", "b"), ("1024x1023", "1024"), DATA)
HEAD = SignedHead("north", 7, "ab" * 32, "2026-03-01T12:00:00.000+00:00", "c2ln")
ASKED = Asked(Request("s" * 64, "c" * 64, 3), PACKED, HEAD, "-----BEGIN CERTIFICATE-----")
ANSWERED = Answered("north", PACKED, Report(40, 0.5, math.inf, trained_dice=0.25, train_s=1.5), HEAD)


@pytest.mark.parametrize("asked", [ASKED, Asked(Request("s", "c", 3, "finish"), Packed((), (), b""))])
def test_a_request_comes_out_as_it_went_in(asked: Asked) -> None:
    parts = [pb.WorkPart.FromString(part.SerializeToString()) for part in parts_of(asked)]
    assert asked_from(iter(parts), len(DATA)) == asked
    assert max(part.ByteSize() for part in parts) <= CHUNK + 16
    assert len(parts) == (5 if asked.packed.data else 1)


def test_an_answer_comes_out_as_it_went_in() -> None:
    progress = [pb.WorkEvent(progress=pb.Progress(phase="train", step=step, steps=2)) for step in (1, 2)]
    seen: list[int] = []
    found = answered_from(iter([*progress, *events_of(ANSWERED)]), lambda one: seen.append(one.step))
    assert replace(found, report=ANSWERED.report) == ANSWERED
    assert repr(found.report) == repr(ANSWERED.report)  # NaN is not equal to itself
    assert seen == [1, 2]


@pytest.mark.parametrize(
    ("message", "table"), [(pb.Request, Request), (pb.Report, Report), (pb.SignedHead, SignedHead)]
)
def test_the_contract_has_the_fields_of_the_tables(message: type, table: type) -> None:
    assert [field.name for field in message.DESCRIPTOR.fields] == [field.name for field in fields(table)]


def chunks(*data: bytes, announced: int = 8) -> Iterator[pb.WorkPart]:
    request = pb.Request(study="s", contract="c", round=1, work="train")
    yield pb.WorkPart(header=pb.RequestHeader(request=request, layout=pb.Layout(bytes=announced)))
    yield from (pb.WorkPart(chunk=chunk) for chunk in data)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (iter([]), "does not begin with its header"),
        (iter([pb.WorkPart(chunk=b"1234")]), "does not begin with its header"),
        (chunks(b"1234"), "8 bytes of tensors are announced, 4 or more came"),
        (chunks(b"1234", b"56789"), "8 bytes of tensors are announced, 9 or more came"),
        (chunks(announced=17), "17 bytes of tensors are announced, at most 16 are taken"),
        (chunks(announced=-1), "-1 bytes of tensors are announced"),
        (iter([pb.WorkPart(header=pb.RequestHeader())]), "asks for '' in round 0"),
    ],
)
def test_a_request_that_is_none(parts: Iterator[pb.WorkPart], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        asked_from(parts, 16)


def test_no_more_is_read_than_was_announced() -> None:
    endless = chunks(*[b"x" * 4] * 1000)
    with pytest.raises(ContractError, match="12 or more came"):
        asked_from(endless, 16)
    assert len(list(endless)) == 997


def test_an_answer_that_breaks_off() -> None:
    with pytest.raises(ContractError, match="the worker's answer has no header"):
        answered_from(iter([pb.WorkEvent(progress=pb.Progress())]))
    with pytest.raises(ContractError, match="bytes of tensors are announced, 0 or more came"):
        answered_from(iter([next(events_of(ANSWERED))]))

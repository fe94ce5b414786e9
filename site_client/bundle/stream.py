"""Requests and answers as the messages of `worker.proto`, and back: both ends of the worker's socket use it.

Tensors go in chunks, so that no message is large, whatever the network.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from fedsurg.audit.heads import SignedHead
from fedsurg.errors import ContractError
from fedsurg.sharing.protocol import Report, Request
from fedsurg.sharing.update import Packed

from . import worker_pb2 as pb
from .records import Answered, Asked

CHUNK = 1 << 20  # bytes; gRPC's own limit for one message is 4 MiB


def parts_of(asked: Asked) -> Iterator[pb.WorkPart]:
    """A request as a stream."""
    header = pb.RequestHeader(
        request=pb.Request(**plain(asked.request.facts())),
        layout=_layout_of(asked.packed),
        head=_head_of(asked.head),
        certificate=asked.certificate,
    )
    yield pb.WorkPart(header=header)
    for chunk in _chunks(asked.packed.data):
        yield pb.WorkPart(chunk=chunk)


def asked_from(parts: Iterator[pb.WorkPart], limit: int) -> Asked:
    """A request from its stream.

    Args:
        parts: of `parts_of`.
        limit: bytes of tensors at most; what is longer is not read.

    Raises:
        ContractError: the stream does not begin with a header, holds other than the announced bytes, or too many.
        AuditError: the head is none.
    """
    first = next(parts, pb.WorkPart())
    if first.WhichOneof("part") != "header":
        raise ContractError("the request does not begin with its header")
    header = first.header
    request = Request.from_facts(_facts(header.request, Request))
    packed = _packed(header.layout, (part.chunk for part in parts), limit)
    head = SignedHead.from_facts(_facts(header.head, SignedHead)) if header.HasField("head") else None
    return Asked(request, packed, head, header.certificate)


def events_of(answered: Answered) -> Iterator[pb.WorkEvent]:
    """An answer as a stream."""
    header = pb.ReplyHeader(
        site=answered.site,
        report=pb.Report(**plain(answered.report.facts())),
        layout=_layout_of(answered.packed),
        head=_head_of(answered.head),
    )
    yield pb.WorkEvent(header=header)
    for chunk in _chunks(answered.packed.data):
        yield pb.WorkEvent(chunk=chunk)


def answered_from(
    events: Iterator[pb.WorkEvent], on_progress: Callable[[pb.Progress], None] = lambda progress: None
) -> Answered:
    """An answer from its stream, when it has come whole.

    Raises:
        ContractError: the stream ends before its header, or holds other than the announced bytes.
    """
    for event in events:
        if event.WhichOneof("event") == "header":
            header = event.header
            break
        on_progress(event.progress)
    else:
        raise ContractError("the worker's answer has no header")
    packed = _packed(header.layout, (event.chunk for event in events), header.layout.bytes)
    head = SignedHead.from_facts(_facts(header.head, SignedHead)) if header.HasField("head") else None
    return Answered(header.site, packed, Report.from_facts(_facts(header.report, Report)), head)


def _layout_of(packed: Packed) -> pb.Layout:
    return pb.Layout(names=packed.names, shapes=packed.shapes, dtype=packed.dtype, bytes=len(packed.data))


def _head_of(head: SignedHead | None) -> pb.SignedHead | None:
    return pb.SignedHead(**plain(head.facts())) if head else None


def _packed(layout: pb.Layout, chunks: Iterator[bytes], limit: int) -> Packed:
    if not 0 <= layout.bytes <= limit:
        raise ContractError(f"{layout.bytes} bytes of tensors are announced, at most {limit} are taken")
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > layout.bytes:
            break
    if len(data) != layout.bytes:
        raise ContractError(f"{layout.bytes} bytes of tensors are announced, {len(data)} or more came")
    return Packed(tuple(layout.names), tuple(layout.shapes), bytes(data), layout.dtype)


def _chunks(data: bytes) -> Iterator[bytes]:
    return (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))


def plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """For a message, whose fields have the types that the table has checked."""
    return dict(facts)


def _facts(message: Any, table: type[Any]) -> dict[str, Any]:
    """The fields of a message by the names of a table, which are the same."""
    return {field.name: getattr(message, field.name) for field in fields(table)}

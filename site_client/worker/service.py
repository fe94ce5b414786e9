"""The worker's gRPC service. Nothing but the class name of an error goes over the socket: the text stays in the log."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import NoReturn

import grpc

from fedsurg import __version__
from fedsurg.errors import AuditError, BusyError, ContractError, PolicyError, StoppedError, debugging
from site_client.bundle import worker_pb2 as pb
from site_client.bundle.stream import asked_from, events_of, plain
from site_client.bundle.worker_pb2_grpc import SiteWorkerServicer
from site_client.worker.desk import Desk
from site_client.worker.progress import Board, Progress

log = logging.getLogger("fedsurg.site")

_CODES: Mapping[type[BaseException], grpc.StatusCode] = {
    StoppedError: grpc.StatusCode.CANCELLED,
    BusyError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    PolicyError: grpc.StatusCode.PERMISSION_DENIED,
    ContractError: grpc.StatusCode.INVALID_ARGUMENT,
}


class Service(SiteWorkerServicer):
    """See `worker.proto`.

    Args:
        site: name of the site.
        desk: does the work.
        board: knows what it does.
        limit: bytes of tensors that a request may have, asked anew for each.
        refused: told why a request was not even taken, for the audit log.
    """

    def __init__(
        self, site: str, desk: Desk, board: Board, limit: Callable[[], int], refused: Callable[[str], None]
    ) -> None:
        self._site, self._desk, self._board, self._limit, self._refused = site, desk, board, limit, refused

    def Work(self, parts: Iterator[pb.WorkPart], context: grpc.ServicerContext) -> Iterator[pb.WorkEvent]:  # noqa: N802
        """Answer one request; when the call ends before its answer, the work is stopped."""
        try:
            job = self._desk.take(asked_from(parts, self._limit()))
        except Exception as problem:
            log.error("a request was not taken: %s: %s", type(problem).__name__, problem, exc_info=debugging())
            with suppress(AuditError):  # nothing is done for it, whether that can be written down or not
                self._refused(f"{type(problem).__name__}: {problem}")
            _abort(context, problem)
        if not context.add_callback(job.stop):
            job.stop()
        for progress in job.progress():
            yield pb.WorkEvent(progress=_message(progress))
        failure = job.answer.exception()
        if failure:
            _abort(context, failure)
        yield from events_of(job.answer.result())

    def Status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.WorkerStatus:  # noqa: N802
        """What the worker does just now."""
        doing = self._board.doing
        return pb.WorkerStatus(
            site=self._site,
            version=__version__,
            state=doing.state,
            request=pb.Request(**plain(doing.request.facts())) if doing.request else None,
            progress=_message(doing.progress) if doing.progress else None,
            last=doing.last,
        )

    def Cancel(self, request: pb.CancelRequest, context: grpc.ServicerContext) -> pb.CancelReply:  # noqa: N802
        """Stop what is in hand and what waits."""
        return pb.CancelReply(cancelled=self._desk.stop_all())


def _abort(context: grpc.ServicerContext, problem: BaseException) -> NoReturn:
    context.abort(_CODES.get(type(problem), grpc.StatusCode.INTERNAL), type(problem).__name__)
    raise problem  # not reached: the line above raises


def _message(progress: Progress) -> pb.Progress:
    return pb.Progress(phase=progress.phase, step=progress.step, steps=progress.steps, seconds=progress.seconds)

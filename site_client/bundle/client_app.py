"""A hospital's ClientApp: hands the message to the hospital's own worker, and its answer back, in the message's time.

Flower starts a process for each message, so this one is small: neither torch nor data, and nothing of either is loaded.
"""

import os
import time

import grpc
from flwr.app import Context, Message

from . import SOCKET
from .records import Answered, Asked, FailedError, client_app
from .stream import answered_from, parts_of
from .worker_pb2_grpc import SiteWorkerStub

WAIT_S = 60.0  # for a worker that is being started again; it takes 15 s at most
TRIES = 3  # a worker that dies at the same message again and again is not asked for ever
_UNAVAILABLE, _LATE = "WorkerUnavailable", "StoppedError"
_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 1000))


def ask_worker(asked: Asked, message: Message, context: Context) -> Answered:
    """The worker's answer; a worker that dies meanwhile is asked again when it is back.

    Raises:
        FailedError: the worker refused or failed, is not there, or the message's time is over.
    """
    path = os.environ.get(SOCKET)
    if not path:
        raise FailedError(_UNAVAILABLE)
    deadline, tries = time.monotonic() + time_left(message), TRIES
    while True:
        tries -= 1
        try:
            return _call(path, asked, deadline - time.monotonic())
        except grpc.FutureTimeoutError:
            raise FailedError(_UNAVAILABLE) from None
        except grpc.RpcError as problem:
            if problem.code() != grpc.StatusCode.UNAVAILABLE or not tries:
                raise FailedError(reason_of(problem)) from None


def time_left(message: Message) -> float:
    """Seconds until the message is too old; never more than it was given at first, whatever the clocks say."""
    about = message.metadata
    return min(about.ttl, about.created_at + about.ttl - time.time())


def reason_of(problem: grpc.RpcError) -> str:
    """The class name that the worker gave, or that of what became of the call."""
    details = problem.details() or ""
    known = {grpc.StatusCode.UNAVAILABLE: _UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED: _LATE}
    return details if details.isidentifier() else known.get(problem.code(), "WorkerFailed")


def _call(path: str, asked: Asked, seconds: float) -> Answered:
    if seconds <= 0:
        raise FailedError(_LATE)
    with grpc.insecure_channel(f"unix:{path}", _OPTIONS) as channel:
        grpc.channel_ready_future(channel).result(min(WAIT_S, seconds))
        return answered_from(SiteWorkerStub(channel).Work(parts_of(asked), timeout=seconds))


app = client_app(ask_worker)

"""The worker's socket, with work that is none: turns, stops, errors, who may use it."""

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from flwr.app import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from fedsurg.audit.log import read_events
from fedsurg.errors import BusyError, DataError, PolicyError, SupervisionError
from fedsurg.sharing.protocol import Report, Request
from fedsurg.sharing.update import Packed, Update
from server.records import read_reply
from site_client.bundle import SOCKET, client_app
from site_client.bundle import worker_pb2 as pb
from site_client.bundle.records import Answered, Asked
from site_client.bundle.stream import answered_from, parts_of
from site_client.bundle.worker_pb2_grpc import SiteWorkerStub
from site_client.client_app import make_client_app
from site_client.layout import PROGRESS, WORKER_SOCKET
from site_client.worker.desk import WAITING, Desk
from site_client.worker.progress import Board
from site_client.worker.server import SERVICE, only_one, serving

SECRET = "/srv/hospital/PATIENT-7.png"
FIRST = Update.of({"a": np.ones((2, 2), np.float32)})
WAIT_S = 20.0

Until = Callable[[Callable[[], Any], str], Any]


@dataclass
class Echo:
    """Answers with what it was given after some steps; a test holds it at one."""

    steps: int = 2
    hold_at: int = -1
    problem: Exception | None = None
    asked: list[int] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    reached: int = 0
    name = "north"

    def __call__(self, asked: Asked, watch: Callable[[str, int, int], None]) -> Answered:
        self.asked.append(asked.request.round)
        for step in range(self.steps):
            self.reached = step
            watch("train", step, self.steps)
            if step == self.hold_at:
                self.held.set()
                assert self.go_on.wait(WAIT_S)
        if self.problem:
            raise self.problem
        return Answered("north", *self.work(asked.request, asked.packed))

    def work(self, request: Request, packed: Packed) -> tuple[Any, Report]:
        """As a site engine."""
        return packed, Report(3, train_loss=0.5, train_s=1.5)


class Same:
    """A site engine for the inline engine, with the same answer."""

    name = "north"

    def work(self, request: Request, packed: Packed) -> tuple[Update, Report]:
        return Update(np.frombuffer(packed.data, "<f4"), FIRST.layout), Echo().work(request, packed)[1]


def request(number: int = 1) -> Request:
    return Request("5" * 64, "c" * 64, number)


def asked(number: int = 1) -> Asked:
    return Asked(request(number), FIRST.pack())


@contextlib.contextmanager
def calling(hospital: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"unix:{hospital.folder / WORKER_SOCKET}") as channel:
        yield channel


def call(channel: grpc.Channel, number: int = 1, timeout_s: float = WAIT_S) -> Answered:
    return answered_from(SiteWorkerStub(channel).Work(parts_of(asked(number)), timeout=timeout_s))


def state(hospital: Any) -> dict[str, Any]:
    return json.loads((hospital.folder / PROGRESS).read_text())


def test_a_reply_is_the_inline_engines_to_the_byte(hospital, over_flower: Callable[..., Message]) -> None:
    update = Update.of({"a": np.arange(700_000, dtype=np.float32)})  # three chunks

    class Engine(Same):
        def work(self, request: Request, packed: Packed) -> tuple[Update, Report]:
            found, report = super().work(request, packed)
            return Update(found.vector, update.layout), report

    inline = over_flower(request(), update, app=make_client_app(lambda context: Engine()))
    with hospital.worker(Echo()):
        deployed = over_flower(request(), update)
    assert set(deployed.content) == set(inline.content)
    for name, record in inline.content.items():
        assert deployed.content[name].deflate() == record.deflate(), name
    assert read_reply(deployed).site == "north"
    assert deployed.content["update"]["vector"].data == update.vector.tobytes()


def test_only_the_sites_account_may_use_the_socket(hospital) -> None:
    with hospital.worker(Echo()):
        socket = hospital.folder / WORKER_SOCKET
        assert (socket.stat().st_mode & 0o777, socket.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_it_is_healthy_and_says_what_it_does_while_it_works(hospital, until: Until) -> None:
    echo = Echo(hold_at=1)
    with hospital.worker(echo), calling(hospital) as channel, ThreadPoolExecutor(1) as other:
        stub, health = SiteWorkerStub(channel), HealthStub(channel)
        assert stub.Status(pb.StatusRequest()).state == "idle"
        answer = other.submit(call, channel, 3)
        assert echo.held.wait(WAIT_S)
        for service in ("", SERVICE):
            said = health.Check(HealthCheckRequest(service=service), timeout=WAIT_S).status
            assert said == HealthCheckResponse.SERVING
        status = stub.Status(pb.StatusRequest(), timeout=WAIT_S)
        assert (status.site, status.state, status.request.round, status.progress.step) == ("north", "working", 3, 1)
        assert state(hospital) | {"seconds": 0, "updated": ""} == {
            "state": "working",
            "study": "5" * 64,
            "round": 3,
            "work": "train",
            "phase": "train",
            "step": 0,
            "steps": 2,
            "seconds": 0,
            "last": "",
            "updated": "",
        }
        echo.go_on.set()
        assert answer.result().site == "north"
        until(lambda: state(hospital)["state"] == "idle", "still at work")
        assert stub.Status(pb.StatusRequest()).last == state(hospital)["last"] == "answered"
    assert state(hospital)["state"] == "stopped"


def test_progress_is_streamed(hospital) -> None:
    with hospital.worker(Echo(steps=3)), calling(hospital) as channel:
        seen: list[tuple[str, int, int]] = []
        events = SiteWorkerStub(channel).Work(parts_of(asked()), timeout=WAIT_S)
        answered_from(events, lambda one: seen.append((one.phase, one.step, one.steps)))
    assert seen == [("waiting", 0, 0), ("train", 0, 3), ("train", 1, 3), ("train", 2, 3)]


def test_one_request_at_a_time(hospital, until: Until) -> None:
    echo = Echo(hold_at=0)
    with hospital.worker(echo) as desk, calling(hospital) as channel, ThreadPoolExecutor(4) as others:
        first = others.submit(call, channel, 1)
        assert echo.held.wait(WAIT_S)
        waiting = []
        for number in range(2, 2 + WAITING):
            waiting.append(others.submit(call, channel, number))
            until(lambda number=number: len(desk._jobs) == number, "not taken")
        with pytest.raises(grpc.RpcError) as refused:
            call(channel, 9)
        assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BusyError")
        assert echo.asked == [1]
        echo.go_on.set()
        for one in (first, *waiting):
            assert one.result().packed == FIRST.pack()
        assert echo.asked == [1, 2, 3]
        assert call(channel, 4).site == "north"


def test_a_request_that_is_not_even_taken_is_a_line_of_the_audit_log(hospital) -> None:
    with hospital.worker(Echo()), calling(hospital) as channel:
        with pytest.raises(grpc.RpcError):
            answered_from(SiteWorkerStub(channel).Work(iter([pb.WorkPart(chunk=b"no header")]), timeout=WAIT_S))
        (hospital.folder / "policy.toml").write_text("max_update_bytes = 8\n")
        with pytest.raises(grpc.RpcError):
            call(channel)
    lines = [line["why"] for line in read_events(hospital.log.folder) if line["what"] == "request refused"]
    assert lines[0] == "ContractError: the request does not begin with its header"
    assert lines[1].startswith("ContractError: ") and lines[1].endswith(
        "bytes of tensors are announced, at most 8 are taken"
    )


def test_cancel_stops_at_the_next_step(hospital) -> None:
    echo = Echo(steps=1000, hold_at=1)
    with hospital.worker(echo), calling(hospital) as channel, ThreadPoolExecutor(2) as others:
        calls = [others.submit(call, channel, 1)]
        assert echo.held.wait(WAIT_S)
        assert SiteWorkerStub(channel).Cancel(pb.CancelRequest()).cancelled
        echo.go_on.set()
        with pytest.raises(grpc.RpcError) as problem:
            calls[0].result()
        assert (problem.value.code(), problem.value.details()) == (grpc.StatusCode.CANCELLED, "StoppedError")
        assert echo.reached == 2
        assert not SiteWorkerStub(channel).Cancel(pb.CancelRequest()).cancelled


def test_nobody_waits_any_more(hospital, until: Until) -> None:
    """The asker ends the call: the work ends at its next step, and the next request is taken."""
    echo = Echo(steps=1000, hold_at=1)
    with hospital.worker(echo) as desk, calling(hospital) as channel:
        events = SiteWorkerStub(channel).Work(parts_of(asked()), timeout=WAIT_S)
        assert echo.held.wait(WAIT_S)
        events.cancel()
        (job,) = desk._jobs
        until(job._stopped.is_set, "not stopped")
        echo.go_on.set()
        until(lambda: not desk._jobs, "still at work")
        assert echo.reached == 2
        until(lambda: state(hospital)["last"] == "StoppedError", "not written down")
        echo.steps = 2
        assert call(channel, 2).site == "north"


def test_a_message_that_is_too_old_by_its_time_to_live(
    hospital, over_flower: Callable[..., Message], until: Until
) -> None:
    echo = Echo(steps=1000, hold_at=1)
    with hospital.worker(echo) as desk:
        reply = over_flower(request(), FIRST, ttl_s=4.0)
        assert reply.has_error()
        (job,) = desk._jobs
        until(job._stopped.is_set, "not stopped")
        echo.go_on.set()
        until(lambda: not desk._jobs, "still at work")
    assert echo.reached == 2


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (DataError(f"{SECRET}: cannot be decoded"), grpc.StatusCode.INTERNAL),
        (PolicyError(f"{SECRET}"), grpc.StatusCode.PERMISSION_DENIED),
        (RuntimeError(f"{SECRET}"), grpc.StatusCode.INTERNAL),
    ],
)
def test_only_the_class_of_an_error_leaves(
    hospital, over_flower, problem: Exception, code: grpc.StatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    with hospital.worker(Echo(problem=problem)), calling(hospital) as channel:
        with pytest.raises(grpc.RpcError) as seen:
            call(channel)
        assert (seen.value.code(), seen.value.details()) == (code, type(problem).__name__)
        assert SECRET not in str(seen.value.debug_error_string())
        with caplog.at_level(logging.ERROR, "fedsurg.site"):
            reply = over_flower(request(), FIRST)
    assert reply.error.reason == type(problem).__name__
    assert f"train in round 1 of study 555555555555: {type(problem).__name__}: {problem}" in caplog.text


def test_a_request_that_is_larger_than_the_policy_allows(hospital, caplog: pytest.LogCaptureFixture) -> None:
    (hospital.folder / "policy.toml").write_text("max_update_bytes = 15\n")
    echo = Echo()
    with hospital.worker(echo), calling(hospital) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            call(channel)
        assert refused.value.details() == "ContractError"
        assert "16 bytes of tensors are announced, at most 15 are taken" in caplog.text
        (hospital.folder / "policy.toml").write_text("max_update_bytes = 16\n")
        assert call(channel).site == "north"
    assert echo.asked == [1]


def test_a_worker_that_is_not_there(hospital, over_flower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_app, "WAIT_S", 0.1)
    assert over_flower(request(), FIRST).error.reason == "WorkerUnavailable"
    monkeypatch.delenv(SOCKET)
    assert over_flower(request(), FIRST).error.reason == "WorkerUnavailable"


def test_a_worker_that_comes_back_is_asked_again(hospital, over_flower, until: Until) -> None:
    """Stopped in the middle of the work, and started again: the same message is answered."""
    first, second = Echo(steps=1000, hold_at=1), Echo()
    with ThreadPoolExecutor(1) as other:
        with hospital.worker(first) as desk:
            reply = other.submit(over_flower, request(), FIRST)
            assert first.held.wait(WAIT_S)
            (job,) = desk._jobs
            threading.Thread(target=lambda: (until(job._stopped.is_set, "not stopped"), first.go_on.set())).start()
        with hospital.worker(second):
            assert read_reply(reply.result()).site == "north"
    assert (first.reached, second.asked) == (2, [1])


def test_a_second_worker_is_refused(hospital) -> None:
    run = hospital.folder / "run"
    with only_one(run):
        second = only_one(run)
        with pytest.raises(SupervisionError, match=r"site: a worker runs here already; fedsurg site status shows it"):
            second.__enter__()
    with only_one(run):
        pass


def test_a_socket_whose_path_is_too_long(hospital) -> None:
    deep = hospital.folder / ("x" * 100)
    (deep / "run").mkdir(parents=True)
    with pytest.raises(SupervisionError, match=r"a socket's path 107 at most; move the site's folder to a shorter"):
        serving(deep, "north", Echo(), Board(deep / PROGRESS), print).__enter__()


def test_a_full_disk_does_not_stop_the_work(hospital, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    """Where it stands is then not written up."""
    board = Board(hospital.folder / "nowhere" / "worker.json")
    (hospital.folder / "nowhere").write_text("a file in the way")
    desk = Desk(Echo(), board)
    assert desk.take(asked()).answer.result(WAIT_S).site == "north"
    desk.close()
    assert "worker.json: cannot be written" in caplog.text


def test_too_many_wait(tmp_path: Path) -> None:
    echo = Echo(hold_at=0)
    desk = Desk(echo, Board(tmp_path / "worker.json"))
    for number in range(1 + WAITING):
        desk.take(asked(number + 1))
    with pytest.raises(BusyError, match=r"3 requests are in hand or wait, for train in round 1 of study 5{12} first"):
        desk.take(asked(9))
    echo.go_on.set()
    desk.close()

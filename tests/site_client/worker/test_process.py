"""The command itself: a process that starts warm, is alone, and leaves nothing behind."""

import signal
import subprocess
import sys
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from site_client.layout import WORKER_SOCKET

STARTS_S = 60.0  # on a busy machine; alone it takes less than 15

pytestmark = pytest.mark.slow


def begun(hospital: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fedsurg", "site", "worker", "--dir", str(hospital.folder), "--threads", "1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def healthy(hospital: Any) -> bool:
    soon = (("grpc.max_reconnect_backoff_ms", 500),)
    with grpc.insecure_channel(f"unix:{hospital.folder / WORKER_SOCKET}", soon) as channel:
        try:
            said = HealthStub(channel).Check(HealthCheckRequest(), timeout=STARTS_S, wait_for_ready=True)
        except grpc.RpcError:
            return False
        return bool(said.status == HealthCheckResponse.SERVING)


def test_started_killed_started_stopped(hospital) -> None:
    first = begun(hospital)
    try:
        assert healthy(hospital)
        second = begun(hospital)
        assert (second.communicate()[0].strip(), second.returncode) == (
            f"fedsurg: {hospital.folder}: a worker runs here already; fedsurg site status shows it",
            6,
        )
    finally:
        first.kill()
        first.communicate()
    third = begun(hospital)
    try:
        assert healthy(hospital)
    finally:
        third.send_signal(signal.SIGTERM)
        said, _ = third.communicate(timeout=STARTS_S)
    assert third.returncode == 0, said
    assert said.splitlines()[0].endswith("run/worker.sock")
    assert said.splitlines()[-1] == "north: stopped"


def test_without_a_vault(hospital) -> None:
    (hospital.folder / "vault" / "vault.json").unlink()
    worker = begun(hospital)
    said, _ = worker.communicate(timeout=STARTS_S)
    assert (worker.returncode, said.count("\n")) == (1, 1)
    assert "make a vault with fedsurg site vault init" in said

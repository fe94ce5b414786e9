"""Flower's own SuperLink and SuperNode, through connection and gateway, as processes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fedsurg.joining.clock import now as clock_now
from server.control import Control, node_key
from server.joining import revoke
from server.members import Members
from server.superlink import superlink
from site_client.processes import Ports, children_of
from site_client.site_folder import read_membership, write_membership

Until = Callable[[Callable[[], Any], str], Any]

WAIT_S = 120.0  # a SuperLink starts in five on an idle machine


@contextmanager
def running(folder: Path, name: str, command: list[str], env: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | env, stdout=log, stderr=log, start_new_session=True)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def answered(path: Path) -> set[tuple[str, int]]:
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {(one["path"].rpartition("/")[2], one["status"]) for one in map(json.loads, lines)}


@pytest.mark.slow
def test_a_supernode_gets_to_work_and_stops_when_its_site_is_revoked(
    federation: Path, tmp_path: Path, until: Until
) -> None:
    shutil.copytree(federation, tmp_path, dirs_exist_ok=True)
    coordinator, site = tmp_path / "coordinator", tmp_path / "hospital-a"
    ports = free_ports(5)
    (coordinator / "federation.toml").write_text(
        f'host = "127.0.0.1"\nport = {ports[0]}\n[ports]\nsuperlink = {ports[1]}\nmetrics = {ports[2]}\n'
        '[gateway]\nlisten = "127.0.0.1"\n'
    )
    write_membership(site, read_membership(site).model_copy(update={"port": ports[0]}))
    log = coordinator / "run/logs/requests.jsonl"
    gateway = [sys.executable, "-m", "fedsurg", "server", "gateway", "--dir", str(coordinator)]
    link = superlink(coordinator / "run", ports[1])
    children = {child.name: child for child in children_of(site, Ports(ports[3], ports[4]))}
    connection, node = children["connection"], children["node"]
    with running(tmp_path, "superlink", list(link.command), dict(link.env)), running(tmp_path, "gateway", gateway, {}):
        until(link.ready, "no SuperLink")
        with Control(ports[1]) as control:
            member = Members(coordinator).find("hospital-a")
            assert member
            registered = control.register("hospital-a", node_key(member.node_public_key or ""))
            with (
                running(tmp_path, "connection", list(connection.command), dict(connection.env)) as way,
                running(tmp_path, "node", list(node.command), dict(node.env)) as process,
            ):
                wanted = {(name, 200) for name in ("activate-node", "send-node-heartbeat", "pull-messages")}

                def asked() -> bool:
                    assert (way.poll(), process.poll()) == (None, None), "a process ended"
                    return wanted <= answered(log)

                until(asked, f"not asked for all of {wanted}")
                assert [one.online for one in control.nodes() if one.id == registered] == [True]
                revoke(coordinator, "hospital-a", "", clock_now())
                until(lambda: process.poll() is not None, "the node goes on")
                assert ("pull-messages", 401) in answered(log)
                assert way.poll() is None
                way.terminate()
                assert way.wait(15) == 0


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return found

"""What `fedsurg site start` runs, what it refuses to run, and that it leaves nothing behind."""

import importlib
import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import site_client.start
from fedsurg.errors import FedsurgError, SupervisionError
from fedsurg.flower_programs import LOOPBACK_ONLY
from fedsurg.supervision import Child, supervisor_of
from site_client.doctor import CHECKS, examine
from site_client.layout import CONNECTION, RUN
from site_client.processes import SECRET, Ports, children_of, free_ports, socket_open
from site_client.site_folder import read_identity, read_membership
from site_client.start import require_ready, start_site

Fedsurg = Callable[..., tuple[int, str, str]]
Until = Callable[[Callable[[], Any], str], Any]

WAIT_S = 60.0  # on a loaded machine

# `fedsurg site start` with quiet children in place of the real ones.
STUB = """
import sys
from fedsurg.cli import main
from fedsurg.supervision import Child
import site_client.start
quiet = (sys.executable, "-S", "-c", "import time; print('quiet', flush=True); time.sleep(600)")
names = ("worker", "connection", "node", "executor")
site_client.start.children_of = lambda folder, ports: [Child(name, quiet) for name in names]
main(["site", "start", "--dir", sys.argv[1]])
"""


@pytest.fixture
def children(folder: Path) -> dict[str, Child]:
    """What would be started, by name."""
    (folder / RUN).mkdir(mode=0o700)
    return {child.name: child for child in children_of(folder, Ports(connection=40001, node=40002))}


@pytest.fixture
def started(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A site that runs, with quiet children."""
    process = subprocess.Popen(
        [sys.executable, "-c", STUB, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_children_start_in_the_order_in_which_they_need_each_other(children: dict[str, Child]) -> None:
    assert list(children) == ["worker", "connection", "node", "executor"]
    assert children["worker"].command[1:5] == ("-m", "fedsurg", "site", "worker")
    assert children["connection"].command[-2:] == ("--port", "40001")


def test_the_person_is_told_why_the_node_ended(folder: Path, children: dict[str, Child]) -> None:
    assert children["node"].why() == ""
    said = {"state": "refused", "why": "the gateway refused: hospital-a was revoked"}
    (folder / CONNECTION).write_text(json.dumps(said))
    assert children["node"].why() == "the connection says: the gateway refused: hospital-a was revoked"
    (folder / CONNECTION).write_text(json.dumps(said | {"state": "ok"}))
    assert children["node"].why() == ""


def test_flower_takes_the_commands_and_the_key(folder: Path, children: dict[str, Child], monkeypatch: Any) -> None:
    # The packages' names for the modules are those of their functions.
    flower_superexec = importlib.import_module("flwr.supercore.cli.flower_superexec")
    flower_supernode = importlib.import_module("flwr.supernode.cli.flower_supernode")
    assert children["node"].command[1:3] == ("-m", "site_client.node")
    monkeypatch.setattr(sys, "argv", list(children["node"].command[2:]))
    node: Namespace = flower_supernode._parse_args_run_supernode().parse_args()
    assert not node.insecure  # Flower signs over TLS only
    assert (node.superlink, node.host, node.port) == ("127.0.0.1:40001", "127.0.0.1", 40002)
    assert node.isolation == "process"
    assert not node.runtime_dependency_install
    keys = flower_supernode._try_setup_client_authentication(node)
    assert keys
    assert keys[0].private_numbers().private_value

    assert children["executor"].command[1:3] == ("-m", "site_client.executor")
    monkeypatch.setattr(sys, "argv", list(children["executor"].command[2:]))
    executor: Namespace = flower_superexec._parse_args().parse_args()
    assert executor.runtime_api_address == "127.0.0.1:40002"
    assert not executor.runtime_dependency_install
    assert Path(executor.superexec_auth_secret_file).read_bytes() == Path(node.superexec_auth_secret_file).read_bytes()


def test_flower_reports_nothing_and_writes_below_the_folder(folder: Path, children: dict[str, Child]) -> None:
    for name in ("node", "executor"):
        env = children[name].env
        assert (env["FLWR_TELEMETRY_ENABLED"], env["FLWR_DISABLE_UPDATE_CHECK"]) == ("0", "1")
        assert Path(env["FLWR_HOME"]).is_relative_to(folder)
        assert env["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_only_the_connection_knows_the_proxy(children: dict[str, Child]) -> None:
    for name in ("worker", "node", "executor"):
        assert children[name].env["HTTPS_PROXY"] == children[name].env["https_proxy"] == ""
        assert children[name].env["NO_PROXY"] == "127.0.0.1,localhost"
    assert not set(children["connection"].env) & set(LOOPBACK_ONLY)


def test_the_secret_is_new_at_each_start_and_the_owners(folder: Path, children: dict[str, Child]) -> None:
    path = folder / RUN / SECRET
    before = path.read_bytes()
    assert (len(before), path.stat().st_mode & 0o777) == (32, 0o600)
    children_of(folder, Ports(1, 2))
    assert path.read_bytes() != before


def test_free_ports_are_two() -> None:
    ports = free_ports()
    assert ports.connection != ports.node


def test_a_socket_that_was_left_is_not_open(tmp_path: Path) -> None:
    import socket

    path = tmp_path / "s"
    assert not socket_open(path)()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        assert socket_open(path)()
    assert path.exists()
    assert not socket_open(path)()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "private" / "identity.pem").unlink(), "has not joined"),
        (lambda folder: (folder / "private" / "vault.key").chmod(0o644), "chmod 600"),
        (lambda folder: (folder / "vault").rename(folder / "gone"), "fedsurg site vault init"),
        (lambda folder: (folder / "policy.toml").write_text("minimum_casses = 1\n"), "minimum_casses"),
    ],
    ids=["not joined", "open key", "no vault", "wrong policy"],
)
def test_what_no_restart_can_mend_is_said_at_once(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    require_ready(folder)
    spoil(folder)
    with pytest.raises(FedsurgError, match=message):
        require_ready(folder)


def test_a_certificate_to_renew_soon_stops_nothing(folder: Path) -> None:
    assert read_identity(folder, "hospital-a", read_membership(folder).renew_from)  # type: ignore[arg-type]


def test_a_start_without_data_says_so_and_forgets_the_start_before(
    folder: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_client.start, "Supervisor", lambda *_: Namespace(run=lambda: None))
    (folder / RUN).mkdir(mode=0o700)
    (folder / CONNECTION).write_text('{"state": "ok"}')
    said: list[str] = []
    start_site(folder, said.append)
    assert not (folder / CONNECTION).exists()
    assert not [line for line in said if line.startswith("note")]
    data_folder.rename(data_folder.with_name("elsewhere"))
    start_site(folder, said.append)
    told = f"bring it back, or change data in {folder / 'federation.toml'}; until then every round fails here"
    assert f"note: {data_folder}: no such folder; {told}" in said


def test_start_status_stop(folder: Path, started: subprocess.Popen[str], fedsurg: Fedsurg, until: Until) -> None:
    until(lambda: supervisor_of(folder / RUN), "no supervisor")

    def states() -> set[str]:
        path = folder / RUN / "status.json"
        return {one["state"] for one in json.loads(path.read_text()).values()} if path.exists() else set()

    until(lambda: states() == {"running"}, "not all of them run")
    code, out, _ = fedsurg("site", "status", "--dir", folder)
    assert code == 0
    assert f"running, process {started.pid}" in out
    assert "worker      running since" in out
    (found,) = examine(folder, {"leftovers": CHECKS["leftovers"]})
    assert found.line == f"none; the site runs, process {started.pid}"
    code, _, err = fedsurg("site", "start", "--dir", folder)
    assert (code, "runs already" in err) == (SupervisionError.exit_code, True)

    pids = [one["pid"] for one in json.loads((folder / RUN / "status.json").read_text()).values()]
    assert fedsurg("site", "stop", "--dir", folder)[:2] == (0, "hospital-a: stopped\n")
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    out, err = started.communicate(timeout=60)
    assert (started.returncode, err) == (0, "")
    assert [line.partition("  ")[2] for line in out.splitlines()][-3:] == [
        "waiting for studies from localhost:9443; Ctrl-C stops, fedsurg site status shows more",
        "stopping",
        "hospital-a: stopped",
    ]
    code, out, _ = fedsurg("site", "status", "--dir", folder)
    assert (code, "not running; fedsurg site start" in out) == (1, True)
    assert fedsurg("site", "stop", "--dir", folder)[:2] == (0, "hospital-a: did not run\n")


def test_leftovers_of_a_killed_start(folder: Path, started: subprocess.Popen[str], until: Until) -> None:
    until((folder / RUN / "status.json").exists, "not started")
    started.kill()
    started.wait()
    until(lambda: next(examine(folder, {"leftovers": CHECKS["leftovers"]})).ok, "its children live on")

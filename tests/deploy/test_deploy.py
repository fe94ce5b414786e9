"""The files in deploy/ say what the code says: commands, paths, ports, exit codes, metrics."""

import configparser
import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
import yaml

from fedsurg.cli.main import fedsurg
from fedsurg.errors import JoiningError, PolicyError
from fedsurg.request_log import Entry
from fedsurg.supervision.supervisor import LEASH_S
from server.federation_file import FederationFile
from server.federation_file import Ports as ServerPorts
from server.gateway.metrics import Meters
from server.joining import make_federation
from server.layout import AUTHORITY, DEFAULT_PORT
from server.start import children_of as server_children
from site_client.processes import Ports, children_of

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
FOLDERS = {"fedsurg-site": "/srv/fedsurg/site", "fedsurg-coordinator": "/srv/fedsurg/coordinator"}


def service(unit: Path) -> dict[str, str]:
    """The section [Service] of a unit; in ours no key stands twice."""
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit, encoding="utf-8")
    return dict(parser["Service"])


def instructions() -> list[tuple[str, str]]:
    """The Containerfile's instructions with their arguments, in order."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Containerfile").read_text(encoding="utf-8"), flags=re.M)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def arguments(instruction: str) -> list[str]:
    return [rest for word, rest in instructions() if word == instruction]


def test_there_is_a_unit_for_each_end() -> None:
    assert {unit.stem for unit in UNITS} == set(FOLDERS)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_command_in_the_folder_that_it_may_write(unit: Path) -> None:
    facts = service(unit)
    program, *words = shlex.split(facts["ExecStart"])
    assert program == "/opt/fedsurg/bin/fedsurg"
    command: click.Command = fedsurg
    while isinstance(command, click.Group):
        inner = command.get_command(click.Context(command), words.pop(0))
        assert inner
        command = inner
    assert command.name == "start"
    assert words == ["--dir", FOLDERS[unit.stem]]
    assert facts["ReadWritePaths"] == FOLDERS[unit.stem]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_gives_no_rights_away(unit: Path) -> None:
    facts = service(unit)
    assert facts["User"] not in ("", "root")
    assert (facts["ProtectSystem"], facts["UMask"], facts["CapabilityBoundingSet"]) == ("strict", "0077", "")
    for key in ("NoNewPrivileges", "PrivateTmp", "RestrictSUIDSGID", "ProtectKernelTunables", "ProtectControlGroups"):
        assert facts[key] == "yes"
    assert {"AF_INET", "AF_INET6", "AF_UNIX"} <= set(facts["RestrictAddressFamilies"].split())


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_restarts_but_where_a_person_is_needed(unit: Path) -> None:
    facts = service(unit)
    assert facts["Restart"] == "on-failure"
    usage = click.UsageError("").exit_code
    codes = {usage, JoiningError.exit_code, PolicyError.exit_code}
    assert set(facts["RestartPreventExitStatus"].split()) == {str(code) for code in codes}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_an_end_may_take_its_time_to_stop(unit: Path, folder: Path) -> None:
    settings = FederationFile(host="localhost")
    children = children_of(folder, Ports(1, 2)) if unit.stem == "fedsurg-site" else server_children(folder, settings)
    assert int(service(unit)["TimeoutStopSec"]) > sum(child.grace_s + LEASH_S for child in children)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_a_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text(encoding="utf-8").replace("/opt/fedsurg/bin/fedsurg", "/bin/true"))
    ran = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], check=False, capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_image_has_every_package_and_nothing_else() -> None:
    copied = [words.split() for words in arguments("COPY") if not words.startswith("--from")]
    names = {name.rstrip("/") for *sources, _ in copied for name in sources}
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {
        path.name
        for path in ROOT.iterdir()
        if (path / "__init__.py").exists() and any(fnmatch.fnmatchcase(path.name, pattern) for pattern in patterns)
    }
    assert packages < names
    assert names - packages == {"pyproject.toml", "setup.py", "constraints.txt", "README.md", "LICENSE"}
    assert all((ROOT / name).exists() for name in names)
    ignore = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    assert ignore[1] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == names


def test_the_image_runs_without_privileges() -> None:
    assert arguments("USER")[-1] == "10001:10001"
    assert [word for word, _ in instructions()][-1] == "CMD"
    assert not arguments("ADD")
    assert not arguments("VOLUME")
    assert arguments("ENTRYPOINT") == ['["fedsurg"]']
    assert arguments("EXPOSE") == [str(DEFAULT_PORT)]
    assert all("root" not in rest for word, rest in instructions() if word != "COPY")


def test_prometheus_reads_the_rules_beside_it() -> None:
    facts = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    assert all((DEPLOY / "prometheus" / name).exists() for name in facts["rule_files"])


def test_prometheus_asks_the_gateways_port() -> None:
    facts = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    targets = [
        target for job in facts["scrape_configs"] for each in job["static_configs"] for target in each["targets"]
    ]
    assert targets == [f"127.0.0.1:{ServerPorts().metrics}"]


def test_alerts_are_about_metrics_labels_and_commands_that_exist(tmp_path: Path) -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    known = metrics_of(tmp_path)
    for rule in rules:
        names = set(re.findall(r"fedsurg_\w+", rule["expr"]))
        assert names <= set(known), rule["alert"]
        for name, selector in re.findall(r"(fedsurg_\w+)\{([^}]*)\}", rule["expr"]):
            assert set(re.findall(r"(\w+)=", selector)) <= known[name], rule["alert"]
        for group, command in re.findall(r"fedsurg (server|site) (\w+)", rule["annotations"]["action"]):
            inner = fedsurg.get_command(click.Context(fedsurg), group)
            assert isinstance(inner, click.Group)
            assert inner.get_command(click.Context(inner), command), rule["alert"]


def metrics_of(folder: Path) -> dict[str, set[str]]:
    """Metric -> labels, of a gateway that has counted one refused request, and of one run."""
    run = folder / "runs" / "tiny-0123456789ab"
    run.mkdir(parents=True)
    sites = {"hospital-a": {"round": 1}}
    run.joinpath("status.json").write_text(json.dumps({"name": "tiny", "state": "running", "round": 1, "sites": sites}))
    authority = folder / AUTHORITY
    make_federation(folder / "made", "localhost", DEFAULT_PORT, datetime.now(UTC))
    authority.write_bytes((folder / "made" / AUTHORITY).read_bytes())
    meters = Meters(folder, lambda: datetime.now(UTC))
    meters.watch_connections(lambda: ["hospital-a"])
    meters.count(Entry("hospital-a", "/v1/fleet/get-run", 403, reason="forged"))
    found: dict[str, set[str]] = {}
    for metric in meters._registry.collect():
        for sample in metric.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_the_page_of_ports_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    ports = ServerPorts()
    for port, key in ((ports.superlink, "superlink"), (ports.metrics, "metrics")):
        assert f"| coordinator | loopback | {port} | " in text
        assert f"`[ports] {key}`" in text
    assert f"| coordinator | **inbound** | TCP {DEFAULT_PORT} |" in text
    assert f"| hospital | **outbound** | TCP {DEFAULT_PORT}, " in text

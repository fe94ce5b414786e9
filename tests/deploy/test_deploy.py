"""The files in deploy/ say what the code says: commands, paths, ports, exit codes, metrics."""

import configparser
import fnmatch
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from fedsurg.cli.main import fedsurg
from fedsurg.errors import JoiningError, PolicyError
from server.federation_file import DEFAULT_PORT
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


def test_a_site_may_take_its_time_to_stop(folder: Path) -> None:
    graces = sum(child.grace_s + 5 for child in children_of(folder, Ports(1, 2)))
    assert int(service(DEPLOY / "systemd" / "fedsurg-site.service")["TimeoutStopSec"]) > graces


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

"""What the guides quote and list is what the code says and has."""

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from fedsurg import errors
from fedsurg.cli.main import UNEXPECTED
from fedsurg.models.start_file import read_start
from fedsurg.models.text import site_vectors
from fedsurg.study_file.deployed import require_deployable
from fedsurg.study_file.load import load_study
from server.federation_file import FederationFile
from server.runs import State
from server.start import children_of as server_children
from site_client.doctor import CHECKS
from site_client.policy import PolicyConfig
from site_client.processes import Ports, children_of

ROOT = Path(__file__).parent.parent.parent
GUIDES = [ROOT / "docs" / name for name in ("hospital.md", "coordinator.md")]
PACKAGES = ("fedsurg", "server", "site_client")
GAP = "\0"  # stands for a value within an f-string

_TABLE = re.compile(r"^\| it says \|.*?\n((?:\|.*\n)+)", re.MULTILINE)


def said_in(page: Path) -> list[str]:
    """The first column of the tables of messages."""
    rows = "".join(_TABLE.findall(page.read_text(encoding="utf-8"))).splitlines()
    return [cell for row in rows if not set(cell := row.split("|")[1].strip()) <= {"-"}]


@cache
def texts() -> str:
    """All strings of the code, one a line."""
    found = []
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_messages_are_those_of_the_code(page: Path) -> None:
    messages = said_in(page)
    assert messages
    assert not [message for message in messages if message.replace("...", GAP) not in texts()]


def test_a_message_that_nobody_says_would_be_found() -> None:
    assert "this sentence stands in no module, only in a test of the documents" not in texts()


def rows_below(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table whose header line begins so, without header and rule."""
    text = page.read_text(encoding="utf-8")
    table = text[text.index(f"\n| {heading} |") :].partition("\n\n")[0].strip().splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table[2:]]


def test_the_hospitals_guide_names_every_check_of_the_doctor() -> None:
    page = ROOT / "docs" / "hospital.md"
    named = [name for cells in rows_below(page, "check") for name in cells[0].split(", ")]
    assert named == list(CHECKS)
    assert f"`all {len(CHECKS)} ok`" in page.read_text(encoding="utf-8")


def test_the_hospitals_guide_names_every_rule_of_the_policy_with_its_default() -> None:
    defaults = PolicyConfig().model_dump(mode="json")
    named = {cells[0].strip("`"): cells[1].strip("`") for cells in rows_below(ROOT / "docs" / "hospital.md", "key")}
    assert {key: json.loads(value) for key, value in named.items()} == defaults


def test_the_hospitals_guide_names_every_process_that_is_started(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    started = [child.name for child in children_of(tmp_path, Ports(1, 2))]
    assert [cells[0] for cells in rows_below(ROOT / "docs" / "hospital.md", "process")] == started


def test_the_hospitals_guide_lists_every_exit_code() -> None:
    codes = {error.exit_code for error in vars(errors).values() if isinstance(error, type)}
    listed = {int(cells[0]) for cells in rows_below(ROOT / "docs" / "hospital.md", "code")}
    assert listed == codes | {0, UNEXPECTED}


def test_the_coordinators_guide_names_every_setting_of_the_running_server() -> None:
    settings = FederationFile(host="localhost")
    tables = {"ports": settings.ports, "gateway": settings.gateway}
    defaults = {f"[{name}] {key}": value for name, table in tables.items() for key, value in table.model_dump().items()}
    rows = rows_below(ROOT / "docs" / "coordinator.md", "key")
    assert {cells[0].strip("`"): json.loads(cells[1].strip("`")) for cells in rows} == defaults


def test_the_coordinators_guide_names_every_process_that_is_started(tmp_path: Path) -> None:
    started = [child.name for child in server_children(tmp_path, FederationFile(host="localhost"))]
    assert [cells[0] for cells in rows_below(ROOT / "docs" / "coordinator.md", "process")] == started


def test_the_coordinators_guide_names_every_state_of_a_run() -> None:
    assert [cells[0] for cells in rows_below(ROOT / "docs" / "coordinator.md", "a run is")] == list(get_args(State))


def test_the_study_of_the_coordinators_guide_can_be_run(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "coordinator.md").read_text(encoding="utf-8")
    path = tmp_path / "study.toml"
    path.write_text(re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0], encoding="utf-8")
    study = load_study(path)
    require_deployable(study, study.methods[0], str(path))
    assert read_start(study)
    assert site_vectors(study.network.gate, [(site.name, site.procedure) for site in study.sites])

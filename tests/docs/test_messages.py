"""What the guides say that commands say is what the code says."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

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

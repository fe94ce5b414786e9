"""`status.json`: what a supervisor says of its children, for other processes."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedsurg.errors import FedsurgError
from fedsurg.files import write_atomic
from fedsurg.supervision.lock import supervisor_of

NAME = "status.json"


@dataclass(frozen=True)
class Process:
    """A child: its process number while it lives, its state and since when (UTC), restarts, and its last exit code.

    An exit code above 128 is 128 + the number of the signal that ended it.
    """

    pid: int | None
    state: str
    since: str
    restarts: int
    last_exit: int | None


def stamp() -> str:
    """Now, as in files."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_processes(folder: Path, processes: Mapping[str, Process]) -> None:
    """Replace `folder`/status.json. On a full disk the old one stays: that must not end the processes."""
    text = json.dumps({name: asdict(process) for name, process in processes.items()}, indent=1)
    with suppress(FedsurgError):
        write_atomic(folder / NAME, text)


def all_run(facts: Mapping[str, Any]) -> bool:
    """Of an end's status as plain values: its `processes` all run, and a `supervisor` looks after them."""
    return facts["supervisor"] is not None and {each["state"] for each in facts["processes"].values()} == {"running"}


def read_processes(folder: Path) -> dict[str, Process]:
    """The children of `folder` by name; all stopped when no supervisor runs there; empty: never started."""
    try:
        found = {name: Process(**facts) for name, facts in json.loads((folder / NAME).read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    if supervisor_of(folder) is not None:
        return found
    return {name: replace(process, pid=None, state="stopped") for name, process in found.items()}

"""`run/nodes.json`: which sites are online, as the run keeper last saw it at the SuperLink."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedsurg.files import write_atomic
from server.layout import RUN

NODES = "nodes.json"


def write_nodes(folder: Path, nodes: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace the file below the coordinator's `folder`, if something changed.

    Args:
        folder: of the coordinator.
        nodes: site -> `node` (its id, as text), `online`, `seen` (UTC or null).

    Raises:
        RunError: it cannot be written.
    """
    path = folder / RUN / NODES
    if not path.exists() or read_nodes(folder) != nodes:
        write_atomic(path, json.dumps(nodes, indent=1))


def read_nodes(folder: Path) -> dict[str, dict[str, Any]]:
    """What was last written; empty: nothing."""
    try:
        found: dict[str, dict[str, Any]] = json.loads((folder / RUN / NODES).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found

"""Flower's programs as both ends start them: this installation's own, silent, with files of their own.

Flower itself is not imported here.
"""

import os
import sys
from pathlib import Path

from fedsurg.errors import SupervisionError

# Flower's clients would go through a proxy even to this machine.
LOOPBACK_ONLY = {
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), ""),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost"),
}


def flower_environment(home: Path) -> dict[str, str]:
    """Of a process that uses Flower and speaks to this machine alone.

    Args:
        home: where Flower keeps its files.
    """
    return LOOPBACK_ONLY | {
        "FLWR_HOME": str(home.absolute()),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        # Flower starts its own programs by name.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }


def flower_program(name: str) -> str:
    """Path of one of Flower's programs, beside this Python: never another one that happens to be on the path.

    Raises:
        SupervisionError: it is not there.
    """
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise SupervisionError(f"{path}: no such program; install fedsurg again with pip, with all that it needs")
    return str(path)

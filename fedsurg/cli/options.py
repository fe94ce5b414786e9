"""Options that commands of both ends have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def folder_option(default: str, meaning: str) -> Callable[[Any], Any]:
    """`--dir`, passed as `folder`: where an end keeps its own files."""
    kind = click.Path(path_type=Path)
    return click.option("--dir", "folder", type=kind, default=default, show_default=True, help=meaning)

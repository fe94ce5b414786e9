"""Tensors with plain facts in one file: safetensors, never pickle, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from fedsurg.errors import CheckpointError
from fedsurg.files import write_atomic


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a safetensors file with plain facts in its header, whole or not at all.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; the previous file stays.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomic(path, save(plain, {"facts": json.dumps(dict(facts))}), error=CheckpointError)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        CheckpointError: the file is missing, truncated or no safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
    except Exception as problem:
        raise CheckpointError(f"{path}: cannot be read ({problem}); delete it or restore it from a backup") from problem
    return tensors, facts

"""Tensors with plain facts in one file: safetensors, never pickle, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor

from fedsurg.errors import CheckpointError
from fedsurg.files import write_atomic

_LENGTH_BYTES = 8  # of the number, little-endian, that a safetensors file begins with: the length of its header


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a safetensors file with plain facts in its header, whole or not at all.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; the previous file stays.
    """
    write_atomic(path, tensor_bytes(tensors, facts), error=CheckpointError)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        CheckpointError: the file is missing, truncated or no safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
            facts = _facts_in(file.metadata())
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; give another path, or restore it from a backup") from None
    except Exception as problem:
        raise CheckpointError(f"{path}: cannot be read ({problem}); delete it or restore it from a backup") from problem
    return tensors, facts


def tensor_bytes(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """The bytes of the file that `write_tensors` writes."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    content: bytes = save(plain, {"facts": json.dumps(dict(facts))})
    return content


def tensors_of(content: bytes, where: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `tensor_bytes` made; `where` names it in errors.

    Raises:
        CheckpointError: it is truncated or no safetensors file.
    """
    try:
        end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
        header = json.loads(content[_LENGTH_BYTES:end])
        return load(content), _facts_in(header.get("__metadata__"))
    except Exception as problem:
        raise CheckpointError(f"{where}: cannot be read ({problem}); restore it from a backup") from problem


def _facts_in(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    facts = json.loads((metadata or {}).get("facts", "{}"))
    if not isinstance(facts, dict):
        raise ValueError("its facts are no table of names and values")
    return facts

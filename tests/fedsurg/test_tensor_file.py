"""Tensor files: what goes in comes out, damage is named."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from fedsurg.errors import CheckpointError
from fedsurg.tensor_file import read_tensors, tensors_of, write_tensors


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    image = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    tensors = {"a": image, "b": torch.tensor([1.0, float("nan")], dtype=torch.float64), "c": torch.ones(3)[::2]}
    write_tensors(tmp_path / "file", tensors, {"round": 3, "name": "ü", "none": None})
    found, facts = read_tensors(tmp_path / "file")
    assert facts == {"round": 3, "name": "ü", "none": None}
    assert list(found) == ["a", "b", "c"]
    for name, value in tensors.items():
        torch.testing.assert_close(found[name], value.contiguous(), rtol=0, atol=0, equal_nan=True)


def test_facts_that_are_no_table(tmp_path: Path) -> None:
    content = save({"a": torch.ones(1)}, {"facts": "[1, 2]"})
    (tmp_path / "file").write_bytes(content)
    for read in (lambda: read_tensors(tmp_path / "file"), lambda: tensors_of(content, "file")):
        with pytest.raises(CheckpointError, match=r"file: cannot be read \(its facts are no table of names and values"):
            read()


def test_a_missing_file_is_no_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"state\.safetensors: no such file; give another path, or restore it"):
        read_tensors(tmp_path / "state.safetensors")


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_a_damaged_file(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state.safetensors"
    write_tensors(path, {"a": torch.ones(100)}, {})
    content = path.read_bytes()
    path.write_bytes({"truncated": content[:-1], "text": b"hello, this is text", "empty": b""}[damage])
    with pytest.raises(CheckpointError, match=r"state\.safetensors: cannot be read .*delete it or restore it"):
        read_tensors(path)

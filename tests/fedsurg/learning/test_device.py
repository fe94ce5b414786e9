"""Devices and precision."""

import contextlib

import pytest
import torch

from fedsurg.errors import FedsurgError
from fedsurg.learning.device import choose_device, precision


def test_auto_takes_what_there_is() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(FedsurgError, match=f"device '{name}' cannot be used here; take 'auto' or 'cpu'"):
        choose_device(name)


def test_precision() -> None:
    cpu, a = torch.device("cpu"), torch.ones(2, 2)
    with precision(cpu, "bf16"):
        assert (a @ a).dtype == torch.bfloat16
    with precision(cpu, "off"):
        assert (a @ a).dtype == torch.float32
    assert isinstance(precision(cpu, "off"), contextlib.nullcontext)

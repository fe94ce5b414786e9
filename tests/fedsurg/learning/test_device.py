"""Devices and precision."""

import contextlib

import pytest
import torch

from fedsurg.errors import FedsurgError
from fedsurg.learning.device import choose_device, fast_dtype, precision


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


@pytest.mark.parametrize(
    ("amx", "avx512", "facts", "expected"),
    [
        (True, True, {"cpu_name": "Intel Xeon"}, torch.bfloat16),
        (False, True, {"cpu_name": "Intel Xeon"}, torch.float32),  # slower there than float32
        (False, True, {"cpu_name": "AMD EPYC"}, torch.bfloat16),
        (False, False, {"cpu_name": "AMD EPYC"}, torch.float32),
        (False, True, None, torch.bfloat16),  # a torch that does not say who made the processor
    ],
)
def test_auto_takes_bfloat16_where_it_is_fast(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool, facts: dict[str, str] | None, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    if facts is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: facts, raising=False)
    assert fast_dtype(torch.device("cpu"), "auto") == expected
    assert fast_dtype(torch.device("cpu"), "off") == torch.float32
    assert fast_dtype(torch.device("cpu"), "bf16") == torch.bfloat16

"""Where tensors live, and at which precision."""

import contextlib
from contextlib import AbstractContextManager
from typing import Literal

import torch

from fedsurg.errors import FedsurgError

Precision = Literal["auto", "off", "bf16"]  # of a study: `local.mixed_precision`


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes CUDA when there is one; any other name is torch's.

    Raises:
        FedsurgError: the device does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # a device without memory makes tensors, but holds nothing in them
    except (RuntimeError, AssertionError, NotImplementedError) as problem:
        raise FedsurgError(f"device {name!r} cannot be used here; take 'auto' or 'cpu'") from problem
    return device


def precision(device: torch.device, mode: Precision) -> AbstractContextManager[object]:
    """Autocast to `fast_dtype`."""
    dtype = fast_dtype(device, mode)
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def fast_dtype(device: torch.device, mode: Precision) -> torch.dtype:
    """What matrices are multiplied in. `auto`: bfloat16 on CUDA, and on processors that train faster with it."""
    if mode == "off" or (mode == "auto" and device.type == "cpu" and not _fast_bfloat16()):
        return torch.float32
    return torch.bfloat16


def _fast_bfloat16() -> bool:
    """AMX, or AVX-512's bfloat16 of another maker than Intel, whose is slower than float32 (docs/results.md)."""
    if torch.cpu._is_amx_tile_supported():
        return True
    facts: dict[str, str] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch does not say who made it
    return bool(torch.cpu._is_avx512_bf16_supported()) and "Intel" not in facts.get("cpu_name", "")

"""Update: the shared tensors as one vector. It adds, scales, has a norm; averaging is a function on it.

An update holds numpy arrays, so that it needs neither torch nor Flower; a wire is any mapping of
name -> (dtype, shape, bytes).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedsurg.errors import ContractError
from fedsurg.sharing.contract import BYTES_PER_VALUE, Contract, Entry

Array32 = NDArray[np.float32]
WireTensor = tuple[str, tuple[int, ...], bytes]


@dataclass(frozen=True)
class Update:
    """Named float32 arrays; two updates combine only when they have the same names and shapes."""

    tensors: Mapping[str, Array32]

    def __add__(self, other: "Update") -> "Update":
        return Update({name: value + other.tensors[name] for name, value in self.tensors.items()})

    def __sub__(self, other: "Update") -> "Update":
        return Update({name: value - other.tensors[name] for name, value in self.tensors.items()})

    def scaled(self, factor: float) -> "Update":
        """Every value times `factor`."""
        return Update({name: value * np.float32(factor) for name, value in self.tensors.items()})

    def norm(self) -> float:
        """L2 norm over all values, summed in float64."""
        return math.sqrt(sum(_squares(value) for value in self.tensors.values()))

    def distance(self, other: "Update") -> float:
        """L2 norm of the difference, without holding the difference."""
        return math.sqrt(sum(_squares(value - other.tensors[name]) for name, value in self.tensors.items()))

    def to_wire(self) -> dict[str, WireTensor]:
        """Name -> (dtype, shape, little-endian bytes): one copy, the one that the message keeps."""
        return {
            name: ("float32", tuple(value.shape), np.ascontiguousarray(value, "<f4").tobytes())
            for name, value in self.tensors.items()
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, WireTensor], contract: Contract) -> "Update":
        """Views (no copy) on a message's bytes, after checking them against the contract.

        1. The names are exactly the contract's shared names.
        2. Each tensor has the contract's dtype and shape.
        3. Each tensor has exactly the bytes its shape needs.
        4. Every value is finite.

        Raises:
            ContractError: naming the first tensor that breaks a rule, what was found and what was expected.
        """
        _check_names(wire, contract)
        return cls({name: _view(entry, wire[name]) for name, entry in contract.shared.items()})


class RunningMean:
    """Weighted mean of updates in the memory of one, whatever the number of sites.

    Sums in float64: sums of float32 values of like magnitude are then exact, so the order in which sites answer
    does not change the mean.
    """

    def __init__(self) -> None:
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._weight = 0.0
        self.count = 0

    def add(self, update: Update, weight: float = 1.0) -> None:
        """Take one more update with a positive weight into the mean."""
        if not weight > 0:
            raise ValueError(f"weight must be positive, got {weight}")
        for name, value in update.tensors.items():
            if name not in self._sums:
                self._sums[name] = np.zeros(value.shape, np.float64)
            self._sums[name] += value if weight == 1.0 else value.astype(np.float64) * weight
        self._weight += weight
        self.count += 1

    def mean(self) -> Update:
        """The weighted mean of all updates taken so far.

        Raises:
            ValueError: there were none.
        """
        if not self.count:
            raise ValueError("the mean of no updates does not exist")
        return Update({name: (total / self._weight).astype(np.float32) for name, total in self._sums.items()})


def average(updates: Iterable[Update]) -> Update:
    """Uniform mean."""
    running = RunningMean()
    for update in updates:
        running.add(update)
    return running.mean()


def _squares(value: Array32) -> float:
    flat = value.ravel().astype(np.float64)
    return float(flat @ flat)


def _check_names(wire: Mapping[str, WireTensor], contract: Contract) -> None:
    missing = [name for name in contract.shared if name not in wire]
    if missing:
        raise ContractError(f"tensor {missing[0]!r} is missing ({len(missing)} of {len(contract.shared)} are)")
    extra = [name for name in wire if name not in contract.shared]
    if extra:
        raise ContractError(f"tensor {extra[0][:80]!r} is not in the sharing contract ({len(extra)} such tensors)")


def _view(entry: Entry, tensor: WireTensor) -> Array32:
    dtype, shape, data = tensor
    if dtype != entry.dtype:
        raise ContractError(f"tensor {entry.name!r} has dtype {dtype!r}, the contract says {entry.dtype!r}")
    if tuple(shape) != entry.shape:
        raise ContractError(f"tensor {entry.name!r} has shape {tuple(shape)}, the contract says {entry.shape}")
    if len(data) != entry.values * BYTES_PER_VALUE:
        raise ContractError(f"tensor {entry.name!r} has {len(data)} bytes, its shape needs {entry.bytes}")
    array = np.frombuffer(data, "<f4").reshape(entry.shape)
    if not np.isfinite(array).all():
        raise ContractError(f"tensor {entry.name!r} has values that are not finite (NaN or infinity)")
    return array

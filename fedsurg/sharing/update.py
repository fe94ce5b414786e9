"""Update: the shared tensors as one vector. It adds, scales, has a norm; averaging is a function on it.

An update is a flat numpy array, so that it needs neither torch nor Flower, and every step on it is one numpy call.
On the wire it is the bytes of the vector beside the names and shapes of its tensors (`Packed`).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedsurg.errors import ContractError, one_line
from fedsurg.sharing.contract import BYTES_PER_VALUE, Contract

Array32 = NDArray[np.float32]
Shape = tuple[int, ...]

DTYPE = "float32"
_CHUNK = 1 << 18  # values summed at once in float64, to keep the copy small


@dataclass(frozen=True)
class Packed:
    """An update as a message carries it: names, shapes as "64x32", little-endian float32 values back to back."""

    names: tuple[str, ...]
    shapes: tuple[str, ...]
    data: bytes
    dtype: str = DTYPE


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the tensors in an update's vector, in order."""

    shapes: Mapping[str, Shape]

    @classmethod
    def of(cls, contract: Contract) -> Self:
        """The layout of a contract's shared tensors."""
        return cls({name: entry.shape for name, entry in contract.shared.items()})

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each tensor lies in the vector."""
        found, end = {}, 0
        for name, shape in self.shapes.items():
            found[name] = slice(end, end := end + math.prod(shape))
        return found

    @property
    def size(self) -> int:
        """Values in the vector."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def name_at(self, index: int) -> str:
        """The tensor that holds the vector's value `index`."""
        return next(name for name, part in self.slices.items() if part.start <= index < part.stop)


@dataclass(frozen=True)
class Update:
    """A float32 vector (n,) and its layout; two updates combine only when their layouts are equal."""

    vector: Array32
    layout: Layout

    @classmethod
    def of(cls, tensors: Mapping[str, Array32]) -> Self:
        """Copy named arrays into one vector."""
        flat = [np.ascontiguousarray(value, np.float32).ravel() for value in tensors.values()]
        vector = np.concatenate(flat) if flat else np.zeros(0, np.float32)
        return cls(vector, Layout({name: tuple(value.shape) for name, value in tensors.items()}))

    @property
    def tensors(self) -> dict[str, Array32]:
        """Each tensor by name, as a view."""
        shapes = self.layout.shapes
        return {name: self.vector[part].reshape(shapes[name]) for name, part in self.layout.slices.items()}

    def __add__(self, other: "Update") -> "Update":
        return Update(self.vector + self._matching(other), self.layout)

    def __sub__(self, other: "Update") -> "Update":
        return Update(self.vector - self._matching(other), self.layout)

    def scaled(self, factor: float) -> "Update":
        """Every value times `factor`."""
        return Update(self.vector * np.float32(factor), self.layout)

    def norm(self) -> float:
        """L2 norm over all values, summed in float64."""
        return math.sqrt(sum(_squares(part) for part in _chunks(self.vector)))

    def distance(self, other: "Update") -> float:
        """L2 norm of the difference, without holding the difference."""
        pairs = zip(_chunks(self.vector), _chunks(self._matching(other)), strict=True)
        return math.sqrt(sum(_squares(a.astype(np.float64) - b) for a, b in pairs))

    def pack(self) -> Packed:
        """For a message: one copy, the one that the message keeps."""
        shapes = tuple("x".join(map(str, shape)) for shape in self.layout.shapes.values())
        return Packed(tuple(self.layout.shapes), shapes, self.vector.astype("<f4", copy=False).tobytes())

    @classmethod
    def unpack(cls, packed: Packed, contract: Contract) -> Self:
        """A view (no copy) on a message's bytes, after checking them against the contract.

        1. The dtype is float32.
        2. The names are exactly the contract's shared names, in its order.
        3. Each tensor has the contract's shape.
        4. There are exactly the bytes that the shapes need.
        5. Every value is finite.

        Raises:
            ContractError: naming the first tensor that breaks a rule, what was found and what was expected.
        """
        layout = Layout.of(contract)
        if packed.dtype != DTYPE:
            raise ContractError(f"the tensors have dtype {packed.dtype!r:.40}, the contract says {DTYPE!r}")
        _check_names(packed.names, tuple(layout.shapes))
        _check_shapes(packed, layout)
        needed = layout.size * BYTES_PER_VALUE
        if len(packed.data) != needed:
            raise ContractError(f"the tensors have {len(packed.data)} bytes, their shapes need {needed}")
        vector = np.frombuffer(packed.data, "<f4")
        finite = np.isfinite(vector)
        if not finite.all():
            name = layout.name_at(int(np.argmin(finite)))
            raise ContractError(f"tensor {name!r} has values that are not finite (NaN or infinity)")
        return cls(vector, layout)

    def _matching(self, other: "Update") -> Array32:
        if other.layout.shapes != self.layout.shapes:
            raise ValueError("two updates of different layouts do not combine")
        return other.vector


class RunningMean:
    """Weighted mean of updates in the memory of one, whatever the number of sites.

    Sums in float64: sums of float32 values of like magnitude are then exact, so the order in which sites answer
    does not change the mean.
    """

    def __init__(self) -> None:
        self._sum: NDArray[np.float64] | None = None
        self._layout: Layout | None = None
        self._weight = 0.0
        self.count = 0

    def add(self, update: Update, weight: float = 1.0) -> None:
        """Take one more update with a positive weight into the mean."""
        if not weight > 0:
            raise ValueError(f"weight must be positive, got {weight}")
        if self._sum is None:
            self._sum, self._layout = np.zeros(update.vector.shape, np.float64), update.layout
        if self._layout is None or self._layout.shapes != update.layout.shapes:
            raise ValueError("two updates of different layouts do not combine")
        self._sum += update.vector if weight == 1.0 else update.vector.astype(np.float64) * weight
        self._weight += weight
        self.count += 1

    def mean(self) -> Update:
        """The weighted mean of all updates taken so far.

        Raises:
            ValueError: there were none.
        """
        if self._sum is None or self._layout is None:
            raise ValueError("the mean of no updates does not exist")
        return Update((self._sum / self._weight).astype(np.float32), self._layout)


def average(updates: Iterable[Update]) -> Update:
    """Uniform mean."""
    running = RunningMean()
    for update in updates:
        running.add(update)
    return running.mean()


def _chunks(vector: Array32) -> Iterable[Array32]:
    return (vector[start : start + _CHUNK] for start in range(0, len(vector), _CHUNK))


def _squares(values: NDArray[np.floating]) -> float:
    return float(np.square(values, dtype=np.float64).sum())  # no BLAS: its threads cost more than they bring here


def _check_names(found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    if found == expected:
        return
    missing = [name for name in expected if name not in set(found)]
    if missing:
        raise ContractError(f"tensor {missing[0]!r} is missing ({len(missing)} of {len(expected)} are)")
    extra = [name for name in found if name not in set(expected)]
    if extra:
        raise ContractError(f"tensor {extra[0][:80]!r} is not in the sharing contract ({len(extra)} such tensors)")
    raise ContractError("the tensors are not in the sharing contract's order, or one comes twice")


def _check_shapes(packed: Packed, layout: Layout) -> None:
    if len(packed.shapes) != len(packed.names):
        raise ContractError(f"there are {len(packed.shapes)} shapes for {len(packed.names)} tensors")
    for found, (name, shape) in zip(packed.shapes, layout.shapes.items(), strict=True):
        if found != "x".join(map(str, shape)):
            raise ContractError(
                f"tensor {name!r} has shape {one_line(found, 40)}, the contract says {'x'.join(map(str, shape))}"
            )

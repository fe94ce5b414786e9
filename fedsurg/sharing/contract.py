"""The sharing contract: which tensors of a network leave a site, with shapes and bytes.

Computed from the network's own parts and a method's scopes; shown by `fedsurg study show`, enforced at both ends.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fedsurg.files import digest_of

if TYPE_CHECKING:  # this package is light: a hospital loads it anew for every message
    from fedsurg.models.network import SegmentationNetwork
    from fedsurg.study.config import Part, Scope

BYTES_PER_VALUE = 4  # everything on the wire is float32


@dataclass(frozen=True)
class Entry:
    """One tensor of the contract; `shape` in the tensor's own units, `dtype` as on the wire."""

    name: str
    part: "Part"
    scope: "Scope"
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def values(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of the tensor on the wire, without framing."""
        return self.values * BYTES_PER_VALUE


@dataclass(frozen=True)
class Contract:
    """Every tensor of a site's network with its scope, in the network's order."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(
        cls, network: "SegmentationNetwork", scopes: Mapping["Part", "Scope"], *, private_norms: bool = False
    ) -> "Contract":
        """The contract of `network` under a method's `scopes`; see `Plan.contract`.

        With `private_norms`, normalisation layers of shared parts stay at the site.
        """
        parts = network.parts()
        private = network.normalisation() if private_norms else frozenset()

        def scope(name: str) -> "Scope":
            found = scopes[parts[name]]
            return "site" if found == "shared" and name in private else found

        return cls(
            tuple(
                Entry(name, parts[name], scope(name), tuple(parameter.shape))
                for name, parameter in network.tensors().items()
            )
        )

    @cached_property
    def shared(self) -> dict[str, Entry]:
        """The tensors that travel, by name."""
        return self._of("shared")

    @cached_property
    def site(self) -> dict[str, Entry]:
        """The tensors that never leave a site, by name."""
        return self._of("site")

    @property
    def bytes_per_message(self) -> int:
        """Bytes of the shared tensors, one site, one direction, without framing."""
        return sum(entry.bytes for entry in self.shared.values())

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the shared table: both ends of a message must have the same."""
        return digest_of([[e.name, list(e.shape), e.dtype] for e in self.shared.values()])

    def scope_counts(self) -> dict[str, int]:
        """Parameters per scope; the sum is the network's total."""
        counts = {"shared": 0, "site": 0, "frozen": 0}
        for entry in self.entries:
            counts[entry.scope] += entry.values
        return counts

    def rows(self) -> list[dict[str, Any]]:
        """Plain rows for tables and reports."""
        return [asdict(entry) | {"bytes": entry.bytes} for entry in self.entries]

    def _of(self, scope: "Scope") -> dict[str, Entry]:
        return {entry.name: entry for entry in self.entries if entry.scope == scope}

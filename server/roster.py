"""Which nodes take part in a round, and which site each of them is."""

from typing import Protocol

from flwr.serverapp import Grid


class Roster(Protocol):
    """Asked at the start of every round, and once more for every reply."""

    def present(self, grid: Grid) -> dict[int, str]:
        """Nodes that are there and may take part, in a fixed order, each with its site's name.

        The name is empty where only the site's reply says it.
        """

    def awaits(self, site: str) -> bool:
        """A site that is not there now but was in the last round may come back."""

    def require(self, node: int, site: str) -> None:
        """A reply from `node` may be that of `site`.

        Raises:
            ContractError: it is another site's, or the site was shut out meanwhile.
        """


class AnyNode:
    """Simulations: every node of the engine takes part; none is lost, and their replies say who they are."""

    def present(self, grid: Grid) -> dict[int, str]:
        """All nodes."""
        return dict.fromkeys(sorted(grid.get_node_ids()), "")

    def awaits(self, site: str) -> bool:
        """The engine has all nodes, always."""
        return False

    def require(self, node: int, site: str) -> None:
        """Nothing to check."""

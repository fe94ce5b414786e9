"""What is told while the rounds of a federation run."""

from collections.abc import Collection, Mapping
from typing import Any

from fedsurg.sharing.protocol import Request, Scalar
from fedsurg.sharing.update import Packed, Update

Record = dict[str, Any]


class Observer:
    """Hears what happens in each round. This one keeps no account of it."""

    def asks(self, request: Request, sent: Update, sites: Collection[str]) -> Mapping[str, Scalar]:
        """A request goes out to these sites; what is returned travels with it as its record HEAD (empty: none)."""
        return {}

    def answered(self, request: Request, site: str, packed: Packed, head: Mapping[str, object]) -> None:
        """A reply came from the site, with its record HEAD (empty: none).

        Raises:
            ContractError: the reply may not be used.
        """

    def accepted(self, request: Request, site: str) -> None:
        """The site's reply was used."""

    def refused(self, request: Request, who: str, why: str) -> None:
        """There is no reply of this site or node that could be used."""

    def finished(self, record: Record, shared: Update) -> None:
        """The round is over and saved; `shared` goes out next."""

    def pauses(self) -> bool:
        """Asked between rounds; true ends the run, which can be resumed."""
        return False

"""Private state: what a site keeps for itself between rounds, on its own disk, one file per round.

A file holds the site-scoped tensors and the optimiser's moments, and both once more for the personal model of a method
that has one. It is written whole or not at all and never enters a message. Two rounds are kept: when the server lost a
round, the site goes back with it. Whether a file is in the clear or sealed is up to `SiteFiles`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fedsurg.errors import CheckpointError
from site_client.site_files import SiteFiles

KEPT_ROUNDS = 2
_NAME = re.compile(r"private/round-(\d{6})")


@dataclass(frozen=True)
class PrivateState:
    """State after `round`: site-scoped tensors by name, and the optimiser's tensors; the same of a personal model."""

    round: int
    tensors: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]
    own: Mapping[str, Tensor] = field(default_factory=dict)
    own_optimiser: Mapping[str, Tensor] = field(default_factory=dict)

    def groups(self) -> dict[str, Mapping[str, Tensor]]:
        """The four kinds of tensors under the names they have in a file, in the order of the fields."""
        return {
            "site": self.tensors,
            "optimiser": self.optimiser,
            "own": self.own,
            "own-optimiser": self.own_optimiser,
        }


class PrivateStore:
    """The private states of one site in one study.

    Args:
        files: where they lie.
        study: digest of the study; states of another one are refused.
        site: name of the site; likewise.
    """

    def __init__(self, files: SiteFiles, study: str, site: str) -> None:
        self._files, self._study, self._site = files, study, site

    def save(self, state: PrivateState) -> None:
        """Write a state and drop all but the newest `KEPT_ROUNDS`.

        Raises:
            CheckpointError: it cannot be written; the older states are untouched.
        """
        tensors = {f"{key}/{name}": value for key, group in state.groups().items() for name, value in group.items()}
        facts = {"study": self._study, "site": self._site, "round": state.round}
        self._files.write(_name(state.round), tensors, facts)
        self._files.remove([_name(number) for number in self._rounds()[:-KEPT_ROUNDS]])

    def before(self, number: int) -> PrivateState | None:
        """The newest state of a round earlier than `number`; none when the site has not worked yet.

        Later states are left over from a round that the server lost; they are taken out of use.

        Raises:
            CheckpointError: the state is damaged, belongs to another study or site, or is gone where it has to be.
        """
        found = self._rounds()
        earlier = [kept for kept in found if kept < number]
        if not earlier:
            self._files.begin_anew(number, found)
        late = [_name(kept) for kept in found if kept >= number]
        if late:
            self._files.set_aside(late, f"the server works in round {number} again")
        return self._read(earlier[-1]) if earlier else None

    def _read(self, number: int) -> PrivateState:
        tensors, facts = self._files.read(_name(number))
        if (facts.get("study"), facts.get("site")) != (self._study, self._site):
            raise CheckpointError(
                f"{_name(number)}: is the private state of site {facts.get('site')!r} in study "
                f"{str(facts.get('study'))[:12]}, not of {self._site!r} in {self._study[:12]}; use another folder"
            )
        split: dict[str, dict[str, Tensor]] = {group: {} for group in PrivateState(number, {}, {}).groups()}
        for key, value in tensors.items():
            group, _, name = key.partition("/")
            split[group][name] = value
        return PrivateState(number, *split.values())

    def _rounds(self) -> list[int]:
        return [int(match[1]) for name in self._files.names() if (match := _NAME.fullmatch(name))]


def _name(number: int) -> str:
    return f"private/round-{number:06d}"

"""Private state: what a site keeps for itself between rounds, on its own disk, one file per round.

A file holds the site-scoped tensors and the optimiser's moments, and both once more for the personal model of a method
that has one. It is written whole or not at all and never enters a message. Two rounds are kept: when the server lost a
round, the site goes back with it.
"""

import contextlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from fedsurg.errors import CheckpointError
from fedsurg.tensor_file import read_tensors, write_tensors

log = logging.getLogger("fedsurg.site")

KEPT_ROUNDS = 2
_NAME = re.compile(r"round-(\d{6})\.safetensors")


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
    """The private states of one site in one study, in a folder that only the site reads.

    Args:
        folder: made when the first state is saved.
        study: digest of the study; states of another one are refused.
        site: name of the site; likewise.
    """

    def __init__(self, folder: Path, study: str, site: str) -> None:
        self._folder, self._study, self._site = folder, study, site

    def save(self, state: PrivateState) -> None:
        """Write a state and drop all but the newest `KEPT_ROUNDS`.

        Raises:
            CheckpointError: it cannot be written; the older states are untouched.
        """
        tensors = {f"{key}/{name}": value for key, group in state.groups().items() for name, value in group.items()}
        facts = {"study": self._study, "site": self._site, "round": state.round}
        write_tensors(self._folder / f"round-{state.round:06d}.safetensors", tensors, facts)
        for number in self._rounds()[:-KEPT_ROUNDS]:
            with contextlib.suppress(OSError):
                (self._folder / f"round-{number:06d}.safetensors").unlink()

    def before(self, number: int) -> PrivateState | None:
        """The newest state of a round earlier than `number`; none when the site has not worked yet.

        Later states are left over from a round that the server lost; they are removed.

        Raises:
            CheckpointError: the file is damaged or belongs to another study or site.
        """
        found = self._rounds()
        if number > 1 and found and found[0] >= number:
            log.warning("site %s: no private state is left from before round %s; it begins anew", self._site, number)
        for late in (late for late in found if late >= number):
            (self._folder / f"round-{late:06d}.safetensors").unlink()
        rounds = self._rounds()
        return self._read(rounds[-1]) if rounds else None

    def _read(self, number: int) -> PrivateState:
        path = self._folder / f"round-{number:06d}.safetensors"
        tensors, facts = read_tensors(path)
        if (facts.get("study"), facts.get("site")) != (self._study, self._site):
            raise CheckpointError(
                f"{path}: is the private state of site {facts.get('site')!r} in study {str(facts.get('study'))[:12]}, "
                f"not of {self._site!r} in {self._study[:12]}; use another folder"
            )
        split: dict[str, dict[str, Tensor]] = {group: {} for group in PrivateState(number, {}, {}).groups()}
        for key, value in tensors.items():
            group, _, name = key.partition("/")
            split[group][name] = value
        return PrivateState(number, *split.values())

    def _rounds(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return sorted(int(match[1]) for path in self._folder.iterdir() if (match := _NAME.fullmatch(path.name)))

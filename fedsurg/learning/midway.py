"""Networks on the way from the start to what training made of it: the one for hospitals that take no part.

Training at a few hospitals makes a network better there, and it forgets some of what the start knew of all others. On
the straight line between the two sets of weights lie networks that keep both (WiSE-FT; Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models", who advise the middle where there is nothing to choose by). It costs nothing, and
changes nothing of the rounds. A site's own model is held near the start likewise (`fedsurg.learning.objectives`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from fedsurg.sharing.update import Update

if TYPE_CHECKING:
    from fedsurg.learning.server_step import ServerStep


class Midway:
    """A server step whose global network, as it is given to others, is part start.

    Args:
        step: what happens in the rounds.
        start: tensors by canonical name.
        share: of the start, 0 to 1.
    """

    def __init__(self, step: "ServerStep", start: Mapping[str, Tensor], share: float) -> None:
        self._step, self._start, self._share = step, dict(start), share

    def advance(self, mean: Update, number: int) -> tuple[Update, dict[str, float]]:
        """As `step` does."""
        return self._step.advance(mean, number)

    def tensors(self) -> dict[str, Tensor]:
        """Those of `step`."""
        return self._step.tensors()

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave."""
        self._step.load_tensors(tensors)

    def neutral(self, shared: Update) -> dict[str, Tensor]:
        """The whole global network, moved towards the start; what the start does not have stays."""
        return moved_towards(self._step.neutral(shared), self._start, self._share)


def moved_towards(tensors: Mapping[str, Tensor], start: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """`tensors` by canonical name, each moved by `share` (0 to 1) of the way to that of `start`.

    What a start file does not have stays as it is: gate and adapters, which are about one hospital alone.
    """
    return {
        name: value.float().lerp(start[name].to(value.device).float(), share) if name in start else value
        for name, value in tensors.items()
    }

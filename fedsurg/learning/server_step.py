"""What the server does with an average before it goes out: what every method's step can do, and which one is whose."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from fedsurg.data.clips import ClipDataset
from fedsurg.learning.midway import Midway
from fedsurg.learning.serq import Serq
from fedsurg.methods.registry import Plan
from fedsurg.sharing.contract import Contract
from fedsurg.sharing.update import Update


class ServerStep(Protocol):
    """What happens to the average before it is broadcast."""

    def advance(self, mean: Update, number: int) -> tuple[Update, dict[str, float]]:
        """Round `number`'s average -> what is broadcast, and numbers for the history."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next round needs, for the checkpoint."""
        ...

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave."""
        ...

    def neutral(self, shared: Update) -> dict[str, Tensor]:
        """The whole global network: shared tensors plus the server's own (its query projection)."""
        ...


class Broadcast:
    """The server step of methods without one: the average goes out as it is."""

    def __init__(self, start: Mapping[str, Tensor]) -> None:
        self._start = dict(start)

    def advance(self, mean: Update, number: int) -> tuple[Update, dict[str, float]]:
        """The average itself."""
        return mean, {}

    def tensors(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Nothing to take up."""

    def neutral(self, shared: Update) -> dict[str, Tensor]:
        """The start with the shared tensors on top: private parts are those of synthetic pre-training."""
        return self._start | {name: torch.from_numpy(value.copy()) for name, value in shared.tensors.items()}


def server_step(
    plan: Plan,
    contract: Contract,
    start: Mapping[str, Tensor],
    synthetic: ClipDataset | None,
    device: torch.device,
) -> ServerStep:
    """The server step that a method's row names."""
    step: ServerStep = Broadcast(start)
    if plan.method.server != "none" and synthetic is not None:
        config = plan.study.server.serq
        if plan.method.server == "finetune":
            config = config.model_copy(update={"steps_descriptor": 0, "lambda_3": 0.0})
        step = Serq(plan, contract, start, synthetic, config, device)
    return Midway(step, start, plan.study.server.start_share) if plan.method.objective == "averaged" else step

"""AdamW over a network's named tensors, its learning-rate schedule, and its state as plain tensors."""

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.optim import AdamW

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class Optimiser:
    """AdamW whose state is addressed by tensor name, so that it can be kept in a file.

    Args:
        parameters: name -> parameter; those that do not require a gradient are left out.
        learning_rate: at the top of the schedule.
        weight_decay: decoupled; not applied to vectors (norms, biases, scales).
        factors: name -> learning rate relative to `learning_rate`, where it is not 1.
        clip: largest L2 norm of the gradient.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        clip: float,
        factors: Mapping[str, float] | None = None,
    ) -> None:
        self._parameters = {name: value for name, value in parameters.items() if value.requires_grad}
        self._clip = clip
        self._rate = learning_rate
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, value in self._parameters.items():
            decay = weight_decay if value.ndim > 1 else 0.0
            groups.setdefault(((factors or {}).get(name, 1.0), decay), []).append(value)
        self._factors = [factor for factor, _ in groups]
        self._adamw = AdamW(
            [{"params": values, "weight_decay": decay} for (_, decay), values in groups.items()],
            lr=learning_rate,
            foreach=True,
        )

    def step(self, loss: Tensor, share: float = 1.0) -> float:
        """One step down `loss` at `share` of the learning rate; returns the gradient's norm before clipping.

        A loss or gradient that is not finite changes nothing and returns infinity.
        """
        self._adamw.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(list(self._parameters.values()), self._clip))
        if not (math.isfinite(norm) and math.isfinite(float(loss.detach()))):
            return math.inf
        for group, factor in zip(self._adamw.param_groups, self._factors, strict=True):
            group["lr"] = self._rate * share * factor
        self._adamw.step()
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """The state as `moment/name` -> tensor; empty before the first step."""
        found: dict[str, Tensor] = {}
        for name, value in self._parameters.items():
            state = self._adamw.state.get(value, {})
            found |= {f"{moment}/{name}": state[moment] for moment in _MOMENTS if moment in state}
        return found

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up a state that `tensors` gave; parameters without one start anew."""
        for name, value in self._parameters.items():
            state = {moment: tensors.get(f"{moment}/{name}") for moment in _MOMENTS}
            if all(moment is not None for moment in state.values()):
                self._adamw.state[value] = {
                    key: moment.clone() if key == "step" else moment.to(value.device, copy=True)
                    for key, moment in state.items()
                    if moment is not None
                }


def rate_share(step: int, total: int, warmup: int, schedule: str) -> float:
    """Share of the learning rate at `step` of `total`: linear warm-up, then cosine decay to 1 % or constant."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


def freeze(parameters: Mapping[str, nn.Parameter], names: Collection[str]) -> None:
    """Stop gradients of the named tensors (scope `frozen`)."""
    for name in names:
        parameters[name].requires_grad_(False)


def seed_everything(seed: int) -> None:
    """Fix torch's global generators (dropout and the like) for one piece of work."""
    torch.manual_seed(seed % 2**63)

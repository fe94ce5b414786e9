"""AdamW (with Muon if asked) over a network's named tensors, its schedule, and its state as plain tensors."""

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from fedsurg.learning.muon import Muon

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_MUON_MOMENTS = ("momentum_buffer",)
_SMALLEST_SIDE = 16  # of a matrix for Muon; a narrower one has too few directions to even out


class Optimiser:
    """AdamW whose state is addressed by tensor name, so that it can be kept in a file.

    Args:
        parameters: name -> parameter; those that do not require a gradient are left out.
        learning_rate: at the top of the schedule.
        weight_decay: decoupled; not applied to vectors (norms, biases, scales).
        factors: name -> learning rate relative to `learning_rate`, where it is not 1.
        clip: largest L2 norm of the gradient.
        muon: weight matrices, and kernels of convolutions as matrices, are trained by Muon, at this many times the
            learning rate of the rest; 0: by AdamW like the rest. Random weights learn faster with it.
        muon_dtype: in which Muon computes its directions.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        clip: float,
        factors: Mapping[str, float] | None = None,
        *,
        muon: float = 0.0,
        muon_dtype: torch.dtype = torch.float32,
    ) -> None:
        self._parameters = {name: value for name, value in parameters.items() if value.requires_grad}
        self._clip = clip
        self._rate = learning_rate
        self._muon_factor = muon
        self._matrices = {name: value for name, value in self._parameters.items() if muon and _is_matrix(value)}
        matrices = list(self._matrices.values())
        self._muon = Muon(matrices, learning_rate, weight_decay, dtype=muon_dtype) if matrices else None
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, value in self._parameters.items():
            if name in self._matrices:
                continue
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
        for value in self._parameters.values():
            value.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(list(self._parameters.values()), self._clip))
        if not (math.isfinite(norm) and math.isfinite(float(loss.detach()))):
            return math.inf
        for group, factor in zip(self._adamw.param_groups, self._factors, strict=True):
            group["lr"] = self._rate * share * factor
        self._adamw.step()
        if self._muon:
            self._muon.param_groups[0]["lr"] = self._rate * share * self._muon_factor
            self._muon.step()
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """The state as `moment/name` -> tensor; empty before the first step."""
        found: dict[str, Tensor] = {}
        for name, value in self._parameters.items():
            state = self._state_of(name).get(value, {})
            found |= {f"{moment}/{name}": state[moment] for moment in self._moments(name) if moment in state}
        return found

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up a state that `tensors` gave; parameters without one start anew."""
        for name, value in self._parameters.items():
            state = {moment: tensors.get(f"{moment}/{name}") for moment in self._moments(name)}
            if all(moment is not None for moment in state.values()):
                self._state_of(name)[value] = {
                    key: moment.clone() if key == "step" else moment.to(value.device, copy=True)
                    for key, moment in state.items()
                    if moment is not None
                }

    def _state_of(self, name: str) -> dict[nn.Parameter, dict[str, Tensor]]:
        """The state of the optimiser that trains `name`."""
        optimiser = self._muon if self._muon and name in self._matrices else self._adamw
        state: dict[nn.Parameter, dict[str, Tensor]] = optimiser.state  # type: ignore[assignment]
        return state

    def _moments(self, name: str) -> tuple[str, ...]:
        """What the optimiser of `name` remembers of it."""
        return _MUON_MOMENTS if name in self._matrices else _MOMENTS


def _is_matrix(value: Tensor) -> bool:
    """Whether Muon may train it; a depthwise kernel is a vector for each channel, not a matrix."""
    depthwise = value.ndim == 4 and value.shape[1] == 1
    return value.ndim in (2, 4) and not depthwise and min(len(value), value[0].numel()) >= _SMALLEST_SIDE


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
    """Fix torch's global generators (dropout and the like) for one piece of work; `seed` as of `derived_seed`."""
    torch.manual_seed(seed)

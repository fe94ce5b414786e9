"""Muon: steps along the momentum with all its directions made equally long, for weight matrices and kernels."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_COEFFICIENTS = (3.4445, -4.775, 2.0315)  # of the quintic, steepest at zero (Jordan 2024)
_ITERATIONS = 5
_LEAST_NORM = 1e-7  # what a gradient of zeros is divided by
_RMS = 0.2  # of AdamW's steps, which Muon's are scaled to (Liu et al. 2025, arXiv 2502.16982)


class Muon(Optimizer):
    """Muon with Nesterov's momentum and decoupled weight decay (Jordan 2024, "Muon: an optimizer for hidden layers").

    The same arithmetic as `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`, which knows bfloat16 alone: on a
    processor that has to imitate it, a step there takes ten times as long as the rest of training
    (`benchmarks/pretraining_step.py`). And kernels are taken as they are.

    Args:
        parameters: of two axes or more; (outputs, ...) counts as the matrix (outputs, all that one output sees).
        learning_rate: may be changed between steps, as `param_groups[0]["lr"]`.
        weight_decay: decoupled.
        momentum: what is kept of the mean gradient at a step.
        dtype: in which directions are evened out; see `fedsurg.learning.device.fast_dtype`.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        momentum: float = 0.95,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate, "weight_decay": weight_decay, "momentum": momentum})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step for every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group["lr"], group["weight_decay"], group["momentum"])

    def _step(self, parameter: Tensor, gradient: Tensor, rate: float, decay: float, momentum: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        mean = state["momentum_buffer"]
        mean.lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(mean, momentum).reshape(len(gradient), -1)
        even = orthogonal(ahead.to(self._dtype)).to(parameter.dtype)
        parameter.mul_(1 - rate * decay)
        parameter.add_(even.reshape(parameter.shape), alpha=-rate * _RMS * math.sqrt(max(ahead.shape)))


def orthogonal(matrix: Tensor) -> Tensor:
    """U S V' -> about U V': all singular values end between 0.5 and 1.5, by Newton-Schulz iterations.

    Args:
        matrix: (m,n); computed in its own precision.
    """
    a, b, c = _COEFFICIENTS
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=_LEAST_NORM)
    for _ in range(_ITERATIONS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide

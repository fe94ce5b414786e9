"""Random numbers of an augmentation."""

import torch


def uniform(rng: torch.Generator, low: float, high: float) -> float:
    """One draw from [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=rng))

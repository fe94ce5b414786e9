"""One site's local work: a number of optimiser steps on its own clips."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedsurg.data.loader import Batch
from fedsurg.learning.device import precision
from fedsurg.learning.loss import SegmentationLoss
from fedsurg.learning.optimiser import Optimiser, rate_share
from fedsurg.models.network import Output, SegmentationNetwork
from fedsurg.study.config import LocalConfig

Penalty = Callable[[Output, Tensor], Tensor]


@dataclass(frozen=True)
class Trained:
    """What a piece of training did: mean segmentation loss of its steps, steps that were not finite, seconds; and how
    many of those steps stand at its end, one after another.
    """

    loss: float
    skipped: int
    seconds: float
    last_skipped: int = 0


@dataclass(frozen=True)
class Schedule:
    """Where a round stands in the whole study: its first step, and all steps there are."""

    first: int
    total: int
    warmup: int
    form: str

    @classmethod
    def of(cls, config: LocalConfig, steps: int, number: int, rounds: int) -> "Schedule":
        """Round `number` (from 1) of `rounds`, `steps` a round."""
        return cls((number - 1) * steps, steps * rounds, config.warmup_steps, config.schedule)

    def share(self, step: int) -> float:
        """Share of the learning rate at the `step`-th step of this round."""
        return rate_share(self.first + step, self.total, self.warmup, self.form)


def train(
    network: SegmentationNetwork,
    losses: Sequence[SegmentationLoss],
    batches: Iterable[tuple[int, Batch]],
    optimiser: Optimiser,
    schedule: Schedule,
    config: LocalConfig,
    device: torch.device,
    *,
    after_step: Callable[[int], None] | None = None,
    penalty: Penalty | None = None,
) -> Trained:
    """Train `network` on `batches`, each with the index of its source's loss.

    Args:
        network: in any mode; left in training mode.
        losses: one per data source (one, except when sites are pooled).
        batches: frames (b, t, 3, h, w) and labels (b, h, w).
        optimiser: keeps its moments between calls.
        schedule: learning rate over the study.
        config: precision.
        device: of the network.
        after_step: called with the number of each step that changed the weights.
        penalty: of what the network gives and the labels (b, h, w), added to the loss in each step; not counted in the
            loss that is reported.
    """
    network.train()
    total, steps, skipped, last_skipped, started = 0.0, 0, 0, 0, time.perf_counter()
    for step, (source, batch) in enumerate(batches):
        with precision(device, config.mixed_precision):
            output = network(batch.frames.to(device))
        labels = batch.labels.to(device)
        loss = losses[source](output.logits, labels)
        goal = loss + penalty(output, labels) if penalty else loss
        if not math.isfinite(optimiser.step(goal, schedule.share(step))):
            skipped, last_skipped = skipped + 1, last_skipped + 1
            continue
        last_skipped = 0
        total += float(loss.detach())
        steps += 1
        if after_step:
            after_step(step)
    return Trained(total / steps if steps else math.nan, skipped, time.perf_counter() - started, last_skipped)


def to_device(module: nn.Module, device: torch.device) -> None:
    """Move a network; on a CPU in the memory layout its convolutions are fastest in."""
    module.to(device)
    module.to(memory_format=torch.channels_last)

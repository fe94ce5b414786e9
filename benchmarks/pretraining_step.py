"""How long one step of pre-training takes with each optimiser, and with a batch in shares or in one pass.

    python benchmarks/pretraining_step.py STUDY.toml [--steps N]

The study's network and batch on noise, in the study's precision, on all cores (OMP_NUM_THREADS): forward, backward, and
a step of AdamW alone, of Muon as fedsurg has it, and of Muon as torch has it, which computes in bfloat16 on every
processor; then AdamW with the whole batch in one pass, whose layers torch splits among the cores. Medians, in seconds.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import torch

from fedsurg.learning.device import choose_device, fast_dtype
from fedsurg.learning.local import to_device
from fedsurg.learning.optimiser import Optimiser
from fedsurg.learning.side_by_side import SideBySide
from fedsurg.models.network import network_of
from fedsurg.study.config import Study
from fedsurg.study.load import load_study


def main() -> None:
    """Print a line for each optimiser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    study, device = load_study(options.study), choose_device(options.device)
    ours = fast_dtype(device, study.local.mixed_precision)
    muon = study.server.pretrain.muon
    for name, factor, dtype, passes in (
        ("AdamW", 0.0, ours, SideBySide),
        (f"Muon in {str(ours).removeprefix('torch.')}, as fedsurg has it", muon, ours, SideBySide),
        ("Muon in bfloat16, as torch has it", muon, torch.bfloat16, SideBySide),
        ("AdamW, the batch in one pass", 0.0, ours, OnePass),
    ):
        seconds = step_time(study, device, factor, dtype, passes, options.steps)
        sys.stdout.write(f"{name:<40}{seconds:6.2f} s a step\n")


class OnePass(SideBySide):
    """The whole batch at once, its layers split among torch's threads."""

    def __enter__(self) -> Self:
        return self


def step_time(
    study: Study, device: torch.device, muon: float, dtype: torch.dtype, passes: type[SideBySide], steps: int
) -> float:
    """Median seconds of a step, the first one left out."""
    config, local = study.server.pretrain, study.local
    network = network_of(study)
    to_device(network, device)
    optimiser = Optimiser(
        network.tensors(), config.learning_rate, local.weight_decay, local.gradient_clip, muon=muon, muon_dtype=dtype
    )
    frames = torch.randn(config.batch_size, network.history + 1, 3, *study.task.image_size, device=device)
    with passes(network, device, local.mixed_precision) as forward:

        def step() -> None:
            optimiser.step(forward(frames).logits.square().mean(), spread=forward.spread)

        return statistics.median([timed(step) for _ in range(steps + 1)][1:])


def timed(work: Callable[[], None]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

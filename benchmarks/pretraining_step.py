"""How long one step of pre-training takes with each optimiser, in float32 and in bfloat16.

    python benchmarks/pretraining_step.py STUDY.toml [--steps N]

The study's network and batch on noise: forward, backward, and a step of AdamW alone, of Muon as fedsurg has it, which
computes in the precision of the rest, and of Muon as torch has it, in bfloat16 on every processor. Medians, in seconds.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from fedsurg.learning.device import Precision, choose_device, fast_dtype, precision
from fedsurg.learning.local import to_device
from fedsurg.learning.optimiser import Optimiser
from fedsurg.models.network import network_of
from fedsurg.study.config import Study
from fedsurg.study_file.load import load_study


def main() -> None:
    """Print a line for each optimiser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    study, device = load_study(options.study), choose_device(options.device)
    muon, fast = study.server.pretrain.muon, str(fast_dtype(device, "auto")).removeprefix("torch.")
    rows: tuple[tuple[str, Precision, float, torch.dtype], ...] = (
        ("AdamW in float32", "off", 0.0, torch.float32),
        ("AdamW in bfloat16", "bf16", 0.0, torch.bfloat16),
        ("Muon in float32, as fedsurg has it", "off", muon, torch.float32),
        ("Muon in bfloat16, as fedsurg has it", "bf16", muon, torch.bfloat16),
        ("the rest in float32, Muon as torch has it", "off", muon, torch.bfloat16),
    )
    for name, mode, rate, dtype in rows:
        sys.stdout.write(f"{name:<44}{step_time(study, device, mode, rate, dtype, options.steps):6.2f} s a step\n")
    sys.stdout.write(f"`auto` takes {fast} here\n")


def step_time(
    study: Study, device: torch.device, mode: Precision, muon: float, dtype: torch.dtype, steps: int
) -> float:
    """Median seconds of a step, the first one left out."""
    config, local = study.server.pretrain, study.local
    network = network_of(study)
    to_device(network, device)
    optimiser = Optimiser(
        network.tensors(), config.learning_rate, local.weight_decay, local.gradient_clip, muon=muon, muon_dtype=dtype
    )
    frames = torch.randn(config.batch_size, network.history + 1, 3, *study.task.image_size, device=device)

    def step() -> None:
        with precision(device, mode):
            logits: Tensor = network(frames).logits
        optimiser.step(logits.square().mean())

    return statistics.median([timed(step) for _ in range(steps + 1)][1:])


def timed(work: Callable[[], None]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

"""The start: a network trained on the server's synthetic video alone, made once and cached by digest."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fedsurg.data.augment import Augmentation
from fedsurg.data.clips import ClipDataset
from fedsurg.data.loader import ClipLoader
from fedsurg.data.site import load_site
from fedsurg.files import derived_seed, digest_of
from fedsurg.learning.local import Schedule, to_device, train
from fedsurg.learning.loss import LossWeights, SegmentationLoss
from fedsurg.learning.optimiser import Optimiser, seed_everything
from fedsurg.models.network import SegmentationNetwork, network_of
from fedsurg.study.config import Study
from fedsurg.tensor_file import read_tensors, write_tensors

CHUNK = 50  # steps between two saved states, so that a stopped pre-training goes on where it was
FORMAT = 1

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Start:
    """The pre-trained tensors by canonical name, and the digest of everything that made them."""

    tensors: dict[str, Tensor]
    digest: str


def start_digest(study: Study, synthetic_digest: str) -> str:
    """Digest over all that the start depends on: network, classes, synthetic video, schedule and seed."""
    network = study.network.model_dump(mode="json", exclude={"gate", "adapters"})
    loss = study.local.model_dump(mode="json", include={"cross_entropy", "jaccard", "weight_decay", "gradient_clip"})
    return digest_of(
        {
            "format": FORMAT,
            "network": network,
            "task": study.task.model_dump(mode="json"),
            "pretrain": study.server.pretrain.model_dump(mode="json"),
            "loss": loss,
            "precision": study.local.mixed_precision,
            "synthetic": synthetic_digest,
            "seed": study.seed,
        }
    )


def make_start(
    study: Study,
    synthetic: Path,
    synthetic_digest: str,
    cache: Path,
    *,
    device: torch.device,
    progress: Progress | None = None,
) -> Start:
    """The start of `study`: from `cache` when it is there, else trained on the site folder `synthetic`."""
    digest = start_digest(study, synthetic_digest)
    path = cache / f"start-{digest[:16]}.safetensors"
    if path.exists():
        tensors, facts = read_tensors(path)
        if facts.get("digest") == digest:
            return Start(tensors, digest)
    network = network_of(study)
    if study.server.pretrain.steps:
        _train_in_chunks(study, network, synthetic, digest, cache / f"unfinished-{digest[:16]}", device, progress)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.tensors().items()}
    write_tensors(path, tensors, {"digest": digest})
    return Start(tensors, digest)


def _train_in_chunks(
    study: Study,
    network: SegmentationNetwork,
    synthetic: Path,
    digest: str,
    unfinished: Path,
    device: torch.device,
    progress: Progress | None,
) -> None:
    config = study.server.pretrain
    site = load_site(synthetic, study.task)
    dataset = ClipDataset(site, site.split("train"), study.task.image_size, network.history)
    loader = ClipLoader(dataset, Augmentation(config.augmentation, study.task.image_size), config.batch_size)
    loss = SegmentationLoss(site.labels, LossWeights.of(study.local)).to(device)
    to_device(network, device)
    optimiser = Optimiser(network.tensors(), config.learning_rate, study.local.weight_decay, study.local.gradient_clip)
    done = _resume(unfinished, digest, network, optimiser)
    while done < config.steps:
        steps = min(CHUNK, config.steps - done)
        seed = derived_seed(study.seed, "pretrain", done)
        seed_everything(seed)
        batches = ((0, batch) for batch in loader.batches(steps, seed))
        schedule = Schedule(done, config.steps, config.warmup_steps, "cosine")
        train(network, [loss], batches, optimiser, schedule, study.local, device)
        done += steps
        tensors = {f"network/{name}": value.detach() for name, value in network.tensors().items()}
        tensors |= {f"optimiser/{name}": value for name, value in optimiser.tensors().items()}
        write_tensors(unfinished, tensors, {"digest": digest, "done": done})
        if progress:
            progress(done, config.steps)
    unfinished.unlink(missing_ok=True)


def _resume(path: Path, digest: str, network: SegmentationNetwork, optimiser: Optimiser) -> int:
    if not path.exists():
        return 0
    tensors, facts = read_tensors(path)
    if facts.get("digest") != digest:
        return 0
    network.load_tensors({k.removeprefix("network/"): v for k, v in tensors.items() if k.startswith("network/")})
    optimiser.load_tensors({k.removeprefix("optimiser/"): v for k, v in tensors.items() if k.startswith("optimiser/")})
    return int(facts["done"])

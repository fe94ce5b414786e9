"""The start: a network trained on the server's synthetic video alone, made once and cached by digest.

Where the study names a start file, that one is taken instead, and trained further if the study asks for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from fedsurg.data.augment import Augmentation
from fedsurg.data.clips import ClipDataset
from fedsurg.data.loader import ClipLoader
from fedsurg.data.site import load_site
from fedsurg.errors import FederationError
from fedsurg.files import derived_seed, digest_of
from fedsurg.learning.deep_supervision import DeepSupervision
from fedsurg.learning.device import fast_dtype
from fedsurg.learning.local import Schedule, to_device, train
from fedsurg.learning.loss import LossWeights, SegmentationLoss
from fedsurg.learning.optimiser import Optimiser, seed_everything
from fedsurg.models.network import SegmentationNetwork, network_of
from fedsurg.models.start_file import read_start
from fedsurg.study.config import Study
from fedsurg.tensor_file import read_tensors, write_tensors

CHUNK = 50  # steps between two saved states, so that a stopped pre-training goes on where it was
_BROKEN = 10  # so many steps without a finite loss, one after another, and the weights will not mend
FORMAT = 4  # raised whenever the same study would be trained to other values

Progress = Callable[[int, int], None]
Video = Callable[[], Path]  # gives the site folder of the synthetic video, rendered when it is asked for


@dataclass(frozen=True)
class Start:
    """The pre-trained tensors by canonical name, and the digest of everything that made them."""

    tensors: dict[str, Tensor]
    digest: str


def start_digest(study: Study, synthetic_digest: str) -> str:
    """Digest over all that the start depends on: network, classes, and its file or video, schedule and seed."""
    known = {"encoder_weights"} if study.network.encoder_weights_sha256 else set()  # by what is in that file
    network = study.network.model_dump(mode="json", exclude={"gate", "adapters"} | known)
    pretrain, file = study.server.pretrain, study.server.pretrain.start_sha256
    if pretrain.start and not pretrain.further_steps:
        return digest_of({"format": FORMAT, "network": network, "classes": list(study.task.classes), "file": file})
    unused = "steps" if pretrain.start else "further_steps"
    loss = study.local.model_dump(mode="json", include={"cross_entropy", "jaccard", "weight_decay", "gradient_clip"})
    return digest_of(
        {
            "format": FORMAT,
            "network": network,
            "task": study.task.model_dump(mode="json"),
            "file": file,
            "pretrain": pretrain.model_dump(mode="json", exclude={"start", "start_sha256", unused}),
            "loss": loss,
            "precision": study.local.mixed_precision,
            "synthetic": synthetic_digest,
            "seed": study.seed,
        }
    )


def make_start(
    study: Study,
    video: Video,
    synthetic_digest: str,
    cache: Path,
    *,
    device: torch.device,
    progress: Progress | None = None,
) -> Start:
    """The start of `study`: from `cache` when it is there, else read from its file or trained on `video`, or both.

    Raises:
        NetworkError: the start file does not fit the study.
        SimulatorError: the video cannot be rendered.
    """
    digest = start_digest(study, synthetic_digest)
    path, unfinished = start_file(cache, digest), cache / f"unfinished-{digest[:16]}"
    if path.exists():
        tensors, facts = read_tensors(path)
        if facts.get("digest") == digest:
            unfinished.unlink(missing_ok=True)
            return Start(tensors, digest)
    network = network_of(study)
    if study.server.pretrain.start:
        network.load_tensors(read_start(study))
    if study.server.pretrain.training_steps:
        tensors = _train_in_chunks(study, network, video(), digest, unfinished, device, progress)
    else:
        tensors = _plain(network.tensors())
    write_tensors(path, tensors, {"digest": digest})
    unfinished.unlink(missing_ok=True)  # not before: a full disk would cost the whole training
    return Start(tensors, digest)


def start_file(cache: Path, digest: str) -> Path:
    """Where `make_start` keeps the start with this digest."""
    return cache / f"start-{digest[:16]}.safetensors"


class AveragedWeights:
    """The moving average of a network's weights; early on it forgets faster, or the random start would stay in it.

    Args:
        parameters: name -> parameter; read after each step.
        decay: what is kept of the average at a step, in the long run.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self._parameters, self._decay = parameters, decay
        self.tensors = {name: value.detach().clone() for name, value in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after the `step`-th step, counted from 0."""
        keep = min(self._decay, (1 + step) / (10 + step))
        for name, value in self._parameters.items():
            self.tensors[name].lerp_(value, 1 - keep)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from an average that was kept in a file."""
        for name, value in tensors.items():
            self.tensors[name].copy_(value)


def _train_in_chunks(
    study: Study,
    network: SegmentationNetwork,
    synthetic: Path,
    digest: str,
    unfinished: Path,
    device: torch.device,
    progress: Progress | None,
) -> dict[str, Tensor]:
    config = study.server.pretrain
    total = config.training_steps
    site = load_site(synthetic, study.task)
    dataset = ClipDataset(site, site.split("train"), study.task.image_size, network.history)
    loader = ClipLoader(dataset, Augmentation(config.augmentation, study.task.image_size), config.batch_size)
    loss = SegmentationLoss(site.labels, LossWeights.of(study.local)).to(device)
    to_device(network, device)
    heads = _heads(study, network, loss).to(device)
    trained = network.tensors() | dict(heads.tensors())
    state = _Training(
        network,
        heads,
        Optimiser(
            trained,
            config.learning_rate,
            study.local.weight_decay,
            study.local.gradient_clip,
            muon=config.muon,
            muon_dtype=fast_dtype(device, study.local.mixed_precision),
        ),
        AveragedWeights(network.tensors(), config.ema_decay) if config.ema_decay else None,
    )
    penalty = heads if config.deep_supervision else None
    done, broken = state.resume(unfinished, digest), 0
    while done < total:
        steps = min(CHUNK, total - done)
        seed = derived_seed(study.seed, "pretrain", done)
        seed_everything(seed)
        batches = ((0, batch) for batch in loader.batches(steps, seed))
        schedule = Schedule(done, total, config.warmup_steps, "cosine")
        after = partial(state.after_step, done)
        chunk = train(
            network, [loss], batches, state.optimiser, schedule, study.local, device, after_step=after, penalty=penalty
        )
        done += steps
        broken = chunk.last_skipped + (broken if chunk.last_skipped == steps else 0)
        if 2 * broken >= min(total, 2 * _BROKEN):
            raise FederationError(
                f"the start: of {done} steps the last {broken} had no finite loss; lower server.pretrain.learning_rate"
            )
        state.save(unfinished, digest, done)
        if progress:
            progress(done, total)
    return _plain(state.average.tensors if state.average else network.tensors())


def _heads(study: Study, network: SegmentationNetwork, loss: SegmentationLoss) -> DeepSupervision:
    """Heads for deep supervision; without it they are made, and rest."""
    weight, classes = study.server.pretrain.deep_supervision, len(study.task.classes)
    seed = derived_seed(study.seed, "deep supervision")
    return DeepSupervision(network.encoder.channels, classes, loss, weight, seed=seed)


@dataclass(frozen=True)
class _Training:
    """All that changes while a start is trained, and its file."""

    network: SegmentationNetwork
    heads: DeepSupervision
    optimiser: Optimiser
    average: AveragedWeights | None

    def after_step(self, done: int, step: int) -> None:
        """Step `step` of a chunk that began after `done` steps is finished."""
        if self.average:
            self.average.update(done + step)

    def save(self, path: Path, digest: str, done: int) -> None:
        """Write the state after `done` steps."""
        groups: dict[str, Mapping[str, Tensor]] = {
            "network": self.network.tensors(),
            "heads": self.heads.tensors(),
            "optimiser": self.optimiser.tensors(),
            "average": self.average.tensors if self.average else {},
        }
        tensors = {f"{group}/{name}": value for group, found in groups.items() for name, value in found.items()}
        write_tensors(path, tensors, {"digest": digest, "done": done})

    def resume(self, path: Path, digest: str) -> int:
        """Take up what `save` wrote; returns the steps that are done."""
        if not path.exists():
            return 0
        tensors, facts = read_tensors(path)
        if facts.get("digest") != digest:
            return 0
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "heads": {}, "optimiser": {}, "average": {}}
        for key, value in tensors.items():
            group, _, name = key.partition("/")
            groups[group][name] = value
        self.network.load_tensors(groups["network"])
        self.heads.load(groups["heads"])
        self.optimiser.load_tensors(groups["optimiser"])
        if self.average:
            self.average.load(groups["average"])
        return int(facts["done"])


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies in main memory."""
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}

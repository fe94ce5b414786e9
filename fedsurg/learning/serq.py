"""SERQ: what the server does with the average (FedST, arXiv 2506.23759).

The server owns labelled synthetic video and states with it which instrument representation the average should have.
Features are read as domain + instrument, F = D + I, so F_pre - D is the explicit instrument target:

    SERQ-a   pre, D  <-  L_seg(pre) + lambda_2 * mean(w (F_pre - D - sg F_ema)^2)
    SERQ-b   global  <-  L_seg(global) + lambda_3 * mean(w (F_global - sg(F_pre - D))^2)
    ema      <-  decay * ema + (1 - decay) * global

with sg = stop gradient and w = 1 on the dilated instrument mask, `outside_weight` elsewhere. F_ema are the features
of a moving average of the weights or, as a control, a moving average of the features (see `moving_average`). Plain
fine-tuning on synthetic video, the other control, is the same with no SERQ-a and lambda_3 = 0.
"""

import copy
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsurg.data.augment import Augmentation
from fedsurg.data.clips import ClipDataset
from fedsurg.data.labels import is_instrument
from fedsurg.data.loader import Batch, ClipLoader
from fedsurg.errors import CheckpointError
from fedsurg.files import derived_seed
from fedsurg.learning.device import precision
from fedsurg.learning.exchange import give_shared, take_shared
from fedsurg.learning.local import Schedule, to_device
from fedsurg.learning.loss import LossWeights, SegmentationLoss
from fedsurg.learning.moving_average import MovingAverage, MovingFeatures, MovingWeights
from fedsurg.learning.optimiser import Optimiser, freeze, seed_everything
from fedsurg.methods.registry import Plan
from fedsurg.models.network import DEEPEST_STRIDE, FUSED_STRIDE, Output, SegmentationNetwork, network_of
from fedsurg.sharing.contract import Contract
from fedsurg.sharing.update import Update
from fedsurg.study.config import SerqConfig


class DomainDescriptor(nn.Module):
    """D: what is synthetic about synthetic features, with so little capacity that it cannot hold instruments.

    One value per channel plus `rank` spatial bases, zero at first: D[c, y, x] = v[c] + sum_r a[c, r] b[r, y, x].

    Args:
        channels: of the features.
        size: (h, w) of the bases; other feature sizes interpolate them.
        rank: number of bases; 0 leaves the vector alone.
    """

    def __init__(self, channels: int, size: tuple[int, int], rank: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.vector = nn.Parameter(torch.zeros(channels))
        self.loadings = nn.Parameter(torch.zeros(channels, rank))
        self.bases = nn.Parameter(torch.randn(rank, *size, generator=generator) * 0.1)

    def forward(self, size: tuple[int, int]) -> Tensor:
        """D at a feature size (h, w): (1, c, h, w)."""
        bases: Tensor = self.bases
        domain = self.vector[:, None, None].expand(-1, *size)
        if bases.shape[0]:
            if tuple(bases.shape[1:]) != size:
                bases = F.interpolate(bases.unsqueeze(0), size, mode="bilinear", align_corners=False)[0]
            domain = domain + torch.einsum("cr,rhw->chw", self.loadings, bases)
        return domain.unsqueeze(0)


class Serq:
    """The server's networks (global, pre-trained), the moving average, and one round of SERQ on them."""

    def __init__(
        self,
        plan: Plan,
        contract: Contract,
        start: Mapping[str, Tensor],
        synthetic: ClipDataset,
        config: SerqConfig,
        device: torch.device,
    ) -> None:
        study = plan.study
        self._study, self._contract, self._config, self._device = study, contract, config, device
        self._on_fused = (
            plan.scopes["decoder"] == "shared"
        )  # F: the fused map, or the deepest one where the decoder stays
        self._global = network_of(study)
        self._global.load_tensors(start)
        to_device(self._global, device)
        self._pre = copy.deepcopy(self._global)
        self._loss = SegmentationLoss(synthetic.site.labels, LossWeights.of(study.local)).to(device)
        augmentation = Augmentation(study.server.pretrain.augmentation, study.task.image_size)
        self._loader = ClipLoader(synthetic, augmentation, study.server.batch_size)
        shape = self._feature_shape()
        self._descriptor = self._make_descriptor(shape)
        self._average = self._make_average(shape[0])
        frozen = [name for name, part in self._global.parts().items() if plan.scopes[part] == "frozen"]
        for network in (self._global, self._pre):
            freeze(network.tensors(), frozen)
        self._optimise_global = self._optimiser(self._global.tensors())
        descriptor = {f"descriptor.{name}": value for name, value in self._descriptor.named_parameters()}
        self._optimise_pre = self._optimiser({**self._pre.tensors(), **descriptor})
        self._first_variance = math.nan
        self._stopped = False

    def advance(self, mean: Update, number: int) -> tuple[Update, dict[str, float]]:
        """One round: SERQ-a, SERQ-b, moving average. After a collapse the average goes out unchanged."""
        take_shared(self._global, mean)
        if self._stopped:
            return mean, {"serq_stopped": 1.0}
        seed_everything(derived_seed(self._study.seed, "server", number))
        facts = self._explain_domain(number) if self._config.steps_descriptor else {}
        if self._stopped:
            return mean, facts | {"serq_stopped": 1.0}
        facts |= self._pull_global(number)
        self._average.follow()
        return give_shared(self._global, self._contract), facts

    def neutral(self, shared: Update) -> dict[str, Tensor]:
        """The global network with the server's own query."""
        take_shared(self._global, shared)
        return {name: value.detach().cpu().clone() for name, value in self._global.tensors().items()}

    def tensors(self) -> dict[str, Tensor]:
        """Networks, descriptor, both optimisers and the guard's state."""
        found: dict[str, Tensor] = {}
        for key, network in self._networks().items():
            found |= {f"{key}/{name}": parameter.detach() for name, parameter in network.items()}
        found |= {f"optimise_global/{key}": value for key, value in self._optimise_global.tensors().items()}
        found |= {f"optimise_pre/{key}": value for key, value in self._optimise_pre.tensors().items()}
        return found | {"guard": torch.tensor([self._first_variance, float(self._stopped)], dtype=torch.float64)}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave.

        Raises:
            CheckpointError: a tensor is missing.
        """
        own = {f"{key}/{name}": value for key, part in self._networks().items() for name, value in part.items()}
        lacking = [name for name in (*own, "guard") if name not in tensors]
        if lacking:
            raise CheckpointError(f"the server checkpoint lacks {lacking[0]}; it belongs to another study")
        for name, value in own.items():
            value.data.copy_(tensors[name])
        self._optimise_global.load_tensors(_below("optimise_global/", tensors))
        self._optimise_pre.load_tensors(_below("optimise_pre/", tensors))
        self._first_variance, self._stopped = float(tensors["guard"][0]), bool(tensors["guard"][1])

    def _networks(self) -> dict[str, Mapping[str, Tensor]]:
        return {
            "global": self._global.tensors(),
            "pre": self._pre.tensors(),
            "ema": self._average.tensors(),
            "descriptor": dict(self._descriptor.named_parameters()),
        }

    def _explain_domain(self, number: int) -> dict[str, float]:
        """SERQ-a: train the pre-trained copy and the domain descriptor."""
        config, losses, variance = self._config, [], math.nan
        self._pre.train()
        schedule = self._schedule(config.steps_descriptor, number)
        seed = derived_seed(self._study.seed, "serq-a", number)
        for step, batch in enumerate(self._loader.batches(config.steps_descriptor, seed)):
            output = self._forward(self._pre, batch)
            target = self._target(output)
            anchor = self._average.features(batch, self._inside(batch))
            loss = self._segmentation(output, batch)
            loss = loss + config.lambda_2 * self._distance(target, anchor, batch)
            self._optimise_pre.step(loss, schedule.share(step))
            losses.append(float(loss.detach()))
            variance = float(target.detach().var((0, 2, 3)).mean())
        self._guard(variance)
        return {"serq_descriptor_loss": sum(losses) / len(losses), "target_variance": variance}

    def _pull_global(self, number: int) -> dict[str, float]:
        """SERQ-b: train the global network towards the explicit instrument target."""
        config, losses, distances = self._config, [], []
        self._global.train()
        self._pre.eval()
        schedule = self._schedule(config.steps_global, number)
        seed = derived_seed(self._study.seed, "serq-b", number)
        for step, batch in enumerate(self._loader.batches(config.steps_global, seed)):
            output = self._forward(self._global, batch)
            loss = self._segmentation(output, batch)
            if config.lambda_3:
                with torch.no_grad():
                    target = self._target(self._forward(self._pre, batch))
                distance = self._distance(self._features(output), target, batch)
                distances.append(float(distance.detach()))
                loss = loss + config.lambda_3 * distance
            self._optimise_global.step(loss, schedule.share(step))
            losses.append(float(loss.detach()))
        facts = {"serq_global_loss": sum(losses) / len(losses)} if losses else {}
        return facts | ({"serq_distance": sum(distances) / len(distances)} if distances else {})

    def _guard(self, variance: float) -> None:
        """Stop for good when the target has lost its variance: pulling towards a constant destroys the model."""
        if math.isnan(self._first_variance):
            self._first_variance = variance
        self._stopped = not variance >= self._config.collapse_ratio * self._first_variance

    def _forward(self, network: SegmentationNetwork, batch: Batch) -> Output:
        with precision(self._device, self._study.local.mixed_precision):
            output: Output = network(batch.frames.to(self._device))
        return output

    def _features(self, output: Output) -> Tensor:
        features = output.fused if self._on_fused else output.deepest
        return features.float()

    def _target(self, output: Output) -> Tensor:
        """F_pre - D: the explicit instrument representation, (b, c, h, w)."""
        features = self._features(output)
        if not self._config.descriptor:
            return features
        domain: Tensor = self._descriptor((features.shape[2], features.shape[3]))
        return features - domain

    def _segmentation(self, output: Output, batch: Batch) -> Tensor:
        loss: Tensor = self._loss(output.logits, batch.labels.to(self._device))
        return loss

    def _distance(self, a: Tensor, b: Tensor, batch: Batch) -> Tensor:
        """mean(w (a - b)^2)."""
        outside = self._config.outside_weight
        weights = outside + (1 - outside) * self._inside(batch)
        distance: Tensor = (weights * (a - b).square()).mean()
        return distance

    def _inside(self, batch: Batch) -> Tensor:
        """The dilated instrument mask at the size of the features, (b, 1, h, w)."""
        labels, stride = batch.labels.to(self._device), FUSED_STRIDE if self._on_fused else DEEPEST_STRIDE
        return instrument_mask(labels, stride, self._config.mask_dilation_px)

    def _schedule(self, steps: int, number: int) -> Schedule:
        return Schedule((number - 1) * steps, steps * self._study.federation.rounds, 0, self._study.local.schedule)

    def _optimiser(self, parameters: Mapping[str, nn.Parameter]) -> Optimiser:
        local = self._study.local
        rate = local.learning_rate * self._study.server.rate_factor
        return Optimiser(parameters, rate, local.weight_decay, local.gradient_clip)

    def _feature_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of the features, from one look at a blank frame."""
        height, width = self._study.task.image_size
        with torch.no_grad():
            output = self._global.eval()(torch.zeros(1, 1, 3, height, width, device=self._device))
        _, channels, rows, columns = self._features(output).shape
        return channels, rows, columns

    def _make_descriptor(self, shape: tuple[int, int, int]) -> DomainDescriptor:
        channels, *size = shape
        seed = derived_seed(self._study.seed, "descriptor")
        descriptor = DomainDescriptor(channels, (size[0], size[1]), self._config.descriptor_rank, seed)
        return descriptor.to(self._device)

    def _make_average(self, channels: int) -> MovingAverage:
        def features(network: SegmentationNetwork, batch: Batch) -> Tensor:
            return self._features(self._forward(network, batch))

        decay = self._config.ema_decay
        if self._config.moving_average == "features":
            return MovingFeatures(self._global, features, decay, channels, self._device)
        return MovingWeights(self._global, features, decay)


def instrument_mask(labels: Tensor, stride: int, dilation_px: int) -> Tensor:
    """Mask (b, 1, h, w) of features at `stride`: 1 on the instrument mask dilated by `dilation_px`, else 0.

    `labels` (b, H, W) holds label indices, 0 the background. A last cell that is cut off is a cell, as in the network.
    """
    mask = is_instrument(labels).float().unsqueeze(1)
    if dilation_px:
        mask = F.max_pool2d(mask, 2 * dilation_px + 1, stride=1, padding=dilation_px)
    return F.max_pool2d(mask, stride, ceil_mode=True)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}

"""Deep supervision: while a start is trained, the encoder's coarse maps answer for the labels too.

An encoder with random weights learns slowly when all it hears comes through the decoder. A 1x1 head on each of its
coarse maps gives it the loss directly (Lee et al. 2015, "Deeply-Supervised Nets"). The heads are thrown away with the
last step.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsurg.learning.loss import SegmentationLoss
from fedsurg.models.network import Output


class DeepSupervision(nn.Module):
    """A penalty for `train`: `weight` times the loss of a head on each map but the finest.

    Args:
        channels: of the encoder's maps, the finest first.
        classes: of the study.
        loss: of the labels.
        weight: of each map's loss.
        seed: of the heads' first weights.
    """

    def __init__(
        self, channels: tuple[int, ...], classes: int, loss: SegmentationLoss, weight: float, *, seed: int
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.heads = nn.ModuleList(nn.Conv2d(width, classes, kernel_size=1) for width in channels[1:])
        self._loss, self._weight = loss, weight

    def forward(self, output: Output, labels: Tensor) -> Tensor:
        """Scalar, from a network's output and labels (b, h, w)."""
        height, width = labels.shape[-2:]
        finest = output.maps[0].shape[-2] * 4  # of the input as it was padded
        total = output.logits.new_zeros(())
        for head, coarse in zip(self.heads, output.maps[1:], strict=True):
            scale = finest / coarse.shape[-2]
            logits = F.interpolate(head(coarse.float()), scale_factor=scale, mode="bilinear", align_corners=False)
            total = total + self._loss(logits[..., :height, :width], labels)
        return self._weight * total

    def tensors(self) -> Mapping[str, nn.Parameter]:
        """The heads' parameters by name."""
        return {f"deep.{name}": value for name, value in self.heads.named_parameters()}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up values by name."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])

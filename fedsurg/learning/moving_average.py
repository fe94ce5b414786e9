"""F_ema(x): what SERQ-a holds the pre-trained copy to, one of two moving averages of the global network.

weights    the features, on this frame, of a network whose weights are the average of the global network's
features   the average of the global network's features themselves, over all frames seen: one vector for what
           lies inside the dilated instrument mask and one for what lies outside of it
"""

import copy
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from fedsurg.data.loader import Batch
from fedsurg.models.network import SegmentationNetwork

Features = Callable[[SegmentationNetwork, Batch], Tensor]  # a network's features of a batch, (b, c, h, w) float32


class MovingAverage(Protocol):
    """A moving average of the global network, asked for its features."""

    def features(self, batch: Batch, inside: Tensor) -> Tensor:
        """F_ema of a batch, (b, c, h, w), without gradient; `inside` (b, 1, h, w) is 1 on the instrument mask."""
        ...

    def follow(self) -> None:
        """Take up the global network as it is after a round."""
        ...

    def tensors(self) -> Mapping[str, Tensor]:
        """What the next round needs; a checkpoint copies its values into these very tensors."""
        ...


class MovingWeights:
    """A copy of `network` that follows it after every round: copy <- decay * copy + (1 - decay) * network."""

    def __init__(self, network: SegmentationNetwork, features: Features, decay: float) -> None:
        self._network, self._features, self._decay = network, features, decay
        self._copy = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def features(self, batch: Batch, inside: Tensor) -> Tensor:
        """The copy's features."""
        return self._features(self._copy, batch)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the copy."""
        for name, value in self._copy.tensors().items():
            value.lerp_(self._network.tensors()[name].detach(), 1 - self._decay)

    def tensors(self) -> Mapping[str, Tensor]:
        """The copy's tensors."""
        return self._copy.tensors()


class MovingFeatures:
    """Two prototypes of `channels` numbers, the mean features of `network` inside and outside of the mask.

    They move with every batch they are asked for, p <- decay * p + (1 - decay) * mean over the batch, beginning at
    the first batch's mean. A batch without pixels of a kind leaves that prototype alone.
    """

    def __init__(
        self, network: SegmentationNetwork, features: Features, decay: float, channels: int, device: torch.device
    ) -> None:
        self._network, self._features, self._decay = network, features, decay
        self._prototypes = torch.full((2, channels), torch.nan, device=device)

    @torch.no_grad()
    def features(self, batch: Batch, inside: Tensor) -> Tensor:
        """The prototype of each place, after taking the batch into account."""
        features = self._features(self._network, batch)
        for prototype, mask in zip(self._prototypes, (inside, 1 - inside), strict=True):
            if mask.any():
                mean = (features * mask).sum((0, 2, 3)) / mask.sum()
                prototype.copy_(mean if prototype.isnan().any() else prototype.lerp(mean, 1 - self._decay))
        instrument, rest = self._prototypes[:, None, :, None, None]
        return torch.where(inside > 0, instrument, rest)

    def follow(self) -> None:
        """Nothing: it has followed batch by batch."""

    def tensors(self) -> Mapping[str, Tensor]:
        """Both prototypes, (2, c); NaN until there was a pixel of the kind."""
        return {"prototypes": self._prototypes}

"""The temporal layer: what moved, asked by the current frame of the frames before it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsurg.models.parts import mark
from fedsurg.study.config import TemporalConfig

Tokens = tuple[Tensor, ...]  # per scale (b,n,d): what is kept of a past frame


class TemporalLayer(nn.Module):
    """Multi-scale cross-attention from the current frame to the m frames before it (FedST, arXiv 2506.23759).

    Every scale is projected to d channels. The current frame's tokens query the tokens of the m previous
    frames, which are average-pooled to coarser grids (PVT's spatial reduction, over several grids) and told
    apart by a learned embedding per lag. One attention core serves all scales. The result returns as a
    residual whose scale per channel starts at zero, so a new layer changes nothing.

    The paper does not give sizes; these are this project's (docs/decisions/0003). With PVTv2-B0 and the
    default configuration the layer has 109,312 parameters.

    Args:
        channels: of the feature maps, one entry per scale.
        config: `[network.temporal]`.
    """

    def __init__(self, channels: Sequence[int], config: TemporalConfig) -> None:
        super().__init__()
        self.frames = config.frames
        self.core = AttentionCore(config.channels, config.heads, config.feed_forward)
        self.scales = nn.ModuleList(_Scale(c, config) for c in channels)
        mark(self, "temporal")

    def forward(self, current: Sequence[Tensor], history: Sequence[Tokens]) -> list[Tensor]:
        """Add to the current frame's maps what its past says.

        Args:
            current: per scale (b,c,h,w).
            history: `tokens` of the m frames before, the newest (lag 1) first.

        Returns:
            Per scale (b,c,h,w).
        """
        return [
            scale(self.core, maps, [past[index] for past in history])
            for index, (scale, maps) in enumerate(zip(self.scales, current, strict=True))
        ]

    def tokens(self, features: Sequence[Tensor]) -> Tokens:
        """What later frames need to know of this one: per scale (b,c,h,w) -> (b,n,d)."""
        return tuple(scale.tokens(maps) for scale, maps in zip(self.scales, features, strict=True))  # type: ignore[operator]


class _Scale(nn.Module):
    """One scale's way into the attention core and back."""

    def __init__(self, channels: int, config: TemporalConfig) -> None:
        super().__init__()
        self.pooling = config.pooling
        # 1x1 convolutions, written as linear layers because they act on tokens
        self.reduce = nn.Linear(channels, config.channels)
        self.expand = nn.Linear(config.channels, channels)
        self.lag = nn.Parameter(torch.randn(config.frames, config.channels) * 0.02)
        self.residual = nn.Parameter(torch.zeros(channels))

    def forward(self, core: nn.Module, maps: Tensor, history: Sequence[Tensor]) -> Tensor:
        """(b,c,h,w), lag by lag (b,n,d) -> (b,c,h,w)."""
        past = torch.cat([tokens + lag for tokens, lag in zip(history, self.lag, strict=True)], dim=1)
        here = maps.flatten(2).transpose(1, 2)  # (b,hw,c)
        change = self.residual * self.expand(core(self.reduce(here), past))
        mapped: Tensor = maps + change.transpose(1, 2).reshape(maps.shape)
        return mapped

    def tokens(self, maps: Tensor) -> Tensor:
        """(b,c,h,w) -> (b,n,d); pooled before projecting: both are linear, and this order is cheaper."""
        h, w = maps.shape[2:]
        grids = [F.adaptive_avg_pool2d(maps, (max(1, h // by), max(1, w // by))) for by in self.pooling]
        reduced: Tensor = self.reduce(torch.cat([grid.flatten(2) for grid in grids], dim=2).transpose(1, 2))
        return reduced


class AttentionCore(nn.Module):
    """A pre-norm transformer block whose keys and values come from elsewhere."""

    def __init__(self, channels: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)
        self.norm_forward = nn.LayerNorm(channels)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, feed_forward * channels),
            nn.GELU(),
            nn.Linear(feed_forward * channels, channels),
        )

    def forward(self, current: Tensor, past: Tensor) -> Tensor:
        """(b,l,d) asks (b,n,d) -> (b,l,d)."""
        asked, told = self.norm_attention(current), self.norm_attention(past)
        query, key, value = (self._split(x) for x in (self.query(asked), self.key(told), self.value(told)))
        answer = F.scaled_dot_product_attention(query, key, value)
        current = current + self.out(answer.transpose(1, 2).flatten(2))
        result: Tensor = current + self.feed_forward(self.norm_forward(current))
        return result

    def _split(self, tokens: Tensor) -> Tensor:
        """(b,n,d) -> (b,heads,n,d/heads)."""
        b, n, d = tokens.shape
        return tokens.reshape(b, n, self.heads, d // self.heads).transpose(1, 2)

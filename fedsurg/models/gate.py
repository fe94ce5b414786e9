"""The text gate: which channels matter in this site's kind of surgery."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsurg.errors import NetworkError
from fedsurg.models.parts import mark

_BOTTLENECK = 16  # the gate's hidden layer has c / 16 units


class TextGate(nn.Module):
    """Channel gates from a frozen text vector and the pooled feature: F' = F (1 + gate) (FedST's TCS).

    The gate is 2 sigmoid(z) - 1 with z = 0 at the start, in (-1, 1). With the plain sigmoid of FedST's
    summary a gate cannot be zero, and every channel would start 1.5 times too large; this way a site starts
    exactly at the shared network, and an unseen site, which has no text, runs the same network without a
    gate.

    The text vector is a constant: no parameter, in no state dict, never sent.

    Args:
        channels: c of the feature map.
        text: (e,) the site's text vector; it is L2-normalised here.

    Raises:
        NetworkError: `text` is no vector, or it is zero or not finite.
    """

    text: Tensor

    def __init__(self, channels: int, text: Tensor) -> None:
        super().__init__()
        if text.ndim != 1 or not torch.isfinite(text).all() or not text.any():
            raise NetworkError(f"text vector: one finite non-zero vector is needed, got shape {tuple(text.shape)}")
        self.register_buffer("text", F.normalize(text.detach().float(), dim=0), persistent=False)
        self.describe = nn.Sequential(
            nn.Linear(len(text), channels, bias=False),
            nn.ReLU(),
            nn.Linear(channels, channels, bias=False),
            nn.ReLU(),
        )
        hidden = max(1, channels // _BOTTLENECK)
        self.fuse = nn.Sequential(nn.Linear(2 * channels, hidden), nn.ReLU())
        self.decide = nn.Linear(hidden, channels)
        nn.init.zeros_(self.decide.weight)
        nn.init.zeros_(self.decide.bias)
        mark(self, "gate")

    def forward(self, features: Tensor) -> Tensor:
        """(b,c,h,w) -> (b,c,h,w)."""
        gate = self.gate(features).to(features.dtype)
        return features * (1 + gate[:, :, None, None])

    def gate(self, features: Tensor) -> Tensor:
        """(b,c,h,w) -> (b,c) in (-1, 1)."""
        pooled = features.mean(dim=(2, 3))
        text = self.describe(self.text).expand(len(pooled), -1)
        z: Tensor = self.decide(self.fuse(torch.cat([text, pooled], dim=1)))
        return 2 * torch.sigmoid(z) - 1

"""Frames as numbers around zero: what networks take."""

import torch
from torch import Tensor

# Of ImageNet, in the 0-1 range: what pretrained backbones expect.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def normalise(frames: Tensor) -> Tensor:
    """(..., 3, h, w) uint8 -> float32 with ImageNet's mean and standard deviation taken out."""
    mean = torch.tensor(MEAN, device=frames.device).view(3, 1, 1)
    deviation = torch.tensor(DEVIATION, device=frames.device).view(3, 1, 1)
    return frames.float().mul_(1 / 255).sub_(mean).div_(deviation)


def denormalise(frames: Tensor) -> Tensor:
    """(..., 3, h, w) that `normalise` made -> float32 in the 0-1 range."""
    mean = torch.tensor(MEAN, device=frames.device).view(3, 1, 1)
    deviation = torch.tensor(DEVIATION, device=frames.device).view(3, 1, 1)
    return frames.float() * deviation + mean

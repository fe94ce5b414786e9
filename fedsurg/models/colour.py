"""Colours as the encoder sees them: as they are, or as logarithms of opponent colours.

Light falls off with distance and every camera has its own exposure and white balance, so brightness and colour say
little by themselves. The ratio of two colours hardly changes with the light (Finlayson, Hordley and Drew 2002,
"Removing shadows from images"); a logarithm makes ratios differences, and a camera's gains an offset, which goes when
each frame's own mean is taken out. Between opponent colours grey has ratio 1, so steel and plastic stand out from
tissue at any brightness and at any hospital.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from fedsurg.data.normalisation import denormalise
from fedsurg.study.config import Colour

FLOOR = 0.1  # added to every channel, of 0 to 1: below it, ratios are the sensor's noise
CHROMA = 2.0  # weight of both colour channels against brightness, whose range is wider
LEAST_DEVIATION = 0.1  # added to a frame's own, so that an even frame is not blown up to noise


def log_opponent(frames: Tensor) -> Tensor:
    """Log brightness, log red against green, log yellow against blue, standardised over each frame.

    Args:
        frames: (...,3,h,w) with ImageNet's mean and deviation taken out.

    Returns:
        (...,3,h,w) float32.
    """
    red, green, blue = (denormalise(frames).clamp(0, 1) + FLOOR).unbind(-3)
    brightness = torch.log((red + green + blue) / 3)
    red_green = CHROMA * torch.log(red / green)
    yellow_blue = CHROMA * torch.log((red + green) / (2 * blue))
    colours = torch.stack([brightness, red_green, yellow_blue], dim=-3)
    spread, middle = torch.std_mean(colours, dim=(-2, -1), keepdim=True)
    return (colours - middle) / (spread + LEAST_DEVIATION)


def as_they_are(frames: Tensor) -> Tensor:
    """`frames`."""
    return frames


SEEN: dict[Colour, Callable[[Tensor], Tensor]] = {"rgb": as_they_are, "log_opponent": log_opponent}

"""Tissue that looks like steel, and steel that looks like tissue: changes of colour on one side of a label's outline.

A network that trains on few frames calls all that is grey an instrument: ligaments, nerves, vessels, wet films. And it
misses steel, which shows the red around it. Both are painted here, as the label says where the tissue is:
it costs no rendering, and no two batches show the same.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fedsurg.data.draws import uniform
from fedsurg.data.labels import is_instrument

_MOST = 3  # strips and patches in a clip
_STRIPS = 0.6  # of them
_POINTS = 48  # of a strip's centre line
_WIDTHS = (0.02, 0.09)  # half of a strip's width, in heights of the frame: as wide as instruments are
_CELLS = (6, 8)  # of a frame, in which light and colour are taken to be one


def lay_pale_tissue(frames: Tensor, label: Tensor, rng: torch.Generator) -> Tensor:
    """Frames with one to three strips or patches of pale tissue behind the instruments, the same in each frame.

    Args:
        frames: (t, 3, h, w) float in 0-255.
        label: (h, w) of the current frame: only its background is painted over. Past frames have no label, so there
            an instrument that has moved since may be hidden in part.
        rng: everything random.
    """
    size = (int(label.shape[0]), int(label.shape[1]))
    for _ in range(1 + int(uniform(rng, 0, _MOST))):
        shape = _strip if uniform(rng, 0, 1) < _STRIPS else _patch
        opacity = shape(size, rng) * (label == 0)
        frames = frames + opacity * (_pale(frames, rng) - frames)
    return frames


def mirror_tissue(frames: Tensor, label: Tensor, rng: torch.Generator) -> Tensor:
    """Frames whose instruments take on the colour of the tissue around them; how bright they are stays, as far as
    the channels reach.

    Args:
        frames: (t, 3, h, w) float in 0-255.
        label: (h, w) of the current frame.
        rng: how much.
    """
    size = (int(label.shape[0]), int(label.shape[1]))
    tissue = (label == 0).float()
    share = F.adaptive_avg_pool2d(tissue[None, None], _CELLS)
    # Where a cell shows no tissue, the whole frame's colour stands in.
    colour = F.adaptive_avg_pool2d(frames * tissue, _CELLS) + 1e-3 * frames.mean((-2, -1), keepdim=True)
    around = F.interpolate(colour / (share + 1e-3), size, mode="bilinear")
    mirrored = around * frames.mean(1, keepdim=True) / around.mean(1, keepdim=True).clamp_min(1)
    return frames + uniform(rng, 0.2, 0.9) * is_instrument(label) * (mirrored.clamp(0, 255) - frames)


def _strip(size: tuple[int, int], rng: torch.Generator) -> Tensor:
    """(h, w) opacity in 0-1: a bent line of wavering width, its edge ragged or smooth, soft over a pixel or two;
    some end within the frame.
    """
    height, width = size
    start, bend, end = (torch.tensor([uniform(rng, 0, height), uniform(rng, 0, width)]) for _ in range(3))
    along = torch.linspace(-0.3, 1.3, _POINTS)
    if uniform(rng, 0, 1) < 0.4:
        along = torch.linspace(uniform(rng, -0.3, 0.3), uniform(rng, 0.6, 1.3), _POINTS)
    middle = (start + end) / 2
    control = middle + (bend - middle) * uniform(rng, 0, 0.5)
    bezier = torch.stack([(1 - along) ** 2, 2 * along * (1 - along), along**2], 1)
    line = bezier @ torch.stack([start, control, end])
    half = height * math.exp(uniform(rng, math.log(_WIDTHS[0]), math.log(_WIDTHS[1])))
    wavers = 1 + uniform(rng, 0, 0.5) * _wave(rng, int(uniform(rng, 3, 12)))
    tapers = (torch.linspace(0, 1, _POINTS) * torch.linspace(1, 0, _POINTS) * 4) ** uniform(rng, 0, 0.5)
    ys = torch.arange(height).view(-1, 1, 1) - line[:, 0]
    xs = torch.arange(width).view(1, -1, 1) - line[:, 1]
    distance = (ys.square() + xs.square()).sqrt() - half * (wavers * tapers).clamp_min(0.05)
    edge = distance.amin(-1) + uniform(rng, 0, 0.25) * half * _blotches(rng, size, height // 4)
    return torch.sigmoid(-edge / uniform(rng, 0.7, 2.5)) * uniform(rng, 0.75, 1.0)


def _patch(size: tuple[int, int], rng: torch.Generator) -> Tensor:
    """(h, w) opacity in 0-1: ragged areas that cover a tenth to a third of the frame."""
    noise = _blotches(rng, size, int(uniform(rng, 2, 6))) + 0.2 * _blotches(rng, size, size[0] // 4)
    edge = noise.quantile(uniform(rng, 0.67, 0.9))
    return torch.sigmoid((noise - edge) / uniform(rng, 0.03, 0.3)) * uniform(rng, 0.5, 1.0)


def _pale(frames: Tensor, rng: torch.Generator) -> Tensor:
    """(t, 3, h, w): the frames in a pale colour and their own light, with the relief of tissue from elsewhere."""
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    shift = [int(uniform(rng, 0.2, 0.8) * side) for side in size]
    brightness = frames.mean(1, keepdim=True)
    elsewhere = brightness.roll(shift, (-2, -1))
    light = F.interpolate(F.adaptive_avg_pool2d(brightness, _CELLS), size, mode="bilinear")
    grey = uniform(rng, 0.9, 2.2) * light
    tint = torch.tensor([uniform(rng, 0.8, 1.25), uniform(rng, 0.85, 1.1), uniform(rng, 0.75, 1.15)]).view(3, 1, 1)
    relief = 1 + uniform(rng, 0, 0.6) * (elsewhere / elsewhere.mean().clamp_min(1) - 1)
    blotches = 1 + uniform(rng, 0, 0.3) * _blotches(rng, size, int(uniform(rng, 4, 24)))
    pale = (grey * tint * relief * blotches).clamp(0, 255)
    return frames + uniform(rng, 0.5, 1.0) * (pale - frames)


def _wave(rng: torch.Generator, knots: int) -> Tensor:
    """(_POINTS,): smooth noise through so many knots of variance 1."""
    values = torch.randn(1, 1, knots, generator=rng)
    return F.interpolate(values, _POINTS, mode="linear", align_corners=True)[0, 0]


def _blotches(rng: torch.Generator, size: tuple[int, int], cells: int) -> Tensor:
    """(h, w): smooth noise through so many knots of variance 1 along each side."""
    cells = max(cells, 2)
    values = torch.randn(1, 1, cells, cells, generator=rng)
    return F.interpolate(values, size, mode="bilinear", align_corners=True)[0, 0]

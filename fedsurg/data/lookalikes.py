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
_DARK = 16.0  # of 255: what is darker is in part the border of the view


def lay_pale_tissue(frames: Tensor, label: Tensor, rng: torch.Generator) -> Tensor:
    """Frames with one to three strips or patches of pale tissue behind the instruments.

    Only the current frame has a label, so it stands in for the past ones, as the network does where history is short:
    painted by another frame's label, an instrument that has moved since would be hidden.

    Args:
        frames: (t, 3, h, w) float in 0-255.
        label: (h, w) of the current frame, the last: only its background is painted over.
        rng: everything random.
    """
    current, size = frames[-1:], (int(label.shape[0]), int(label.shape[1]))
    tissue = _tissue(current, label)
    for _ in range(1 + int(uniform(rng, 0, _MOST))):
        shape = _strip if uniform(rng, 0, 1) < _STRIPS else _patch
        opacity = shape(size, rng) * tissue
        current = current + opacity * (_pale(current, tissue, rng) - current)
    return current.expand_as(frames)


def mirror_tissue(frames: Tensor, label: Tensor, rng: torch.Generator) -> Tensor:
    """Frames whose instruments take on the colour of the tissue around them, and stay as bright as they are.

    The current frame stands in for the past ones, as in `lay_pale_tissue`.

    Args:
        frames: (t, 3, h, w) float in 0-255.
        label: (h, w) of the current frame, the last.
        rng: how much.
    """
    current = frames[-1:]
    around = _around(current, _tissue(current, label))
    tint = around / around.mean(1, keepdim=True).clamp_min(1)
    brightness = current.mean(1, keepdim=True)
    # Where the strongest channel would pass 255, the tint is as strong as it can be without a loss of brightness.
    room = (255 / brightness.clamp_min(1) - 1) / (tint.amax(1, keepdim=True) - 1).clamp_min(1e-3)
    mirrored = brightness * (1 + room.clamp(0, 1) * (tint - 1))
    return (current + uniform(rng, 0.2, 0.9) * is_instrument(label) * (mirrored - current)).expand_as(frames)


def _tissue(current: Tensor, label: Tensor) -> Tensor:
    """(1, 1, h, w) in 0-1 for a (1, 3, h, w) frame: how much of a pixel is tissue that can be seen. A round view's
    black border is background too, and none.
    """
    return (label == 0) * (current.mean(1, keepdim=True) / _DARK).clamp(max=1)


def _around(values: Tensor, tissue: Tensor) -> Tensor:
    """(1, c, h, w): the mean of such values over the tissue near each pixel; where there is none, over all of it."""
    mean = values.mean((-2, -1), keepdim=True)
    for cells in ((1, 1), _CELLS):
        share = F.adaptive_avg_pool2d(tissue, cells)
        # The mean of the coarser grid counts next to nothing where there is tissue, and alone where there is none.
        mean = (F.adaptive_avg_pool2d(values * tissue, cells) + 1e-3 * mean) / (share + 1e-3)
    size = (int(values.shape[-2]), int(values.shape[-1]))
    return F.interpolate(mean, size, mode="bilinear")


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


def _pale(current: Tensor, tissue: Tensor, rng: torch.Generator) -> Tensor:
    """(1, 3, h, w): the frame in a pale colour and its own light, with the relief of its tissue elsewhere."""
    size = (int(current.shape[-2]), int(current.shape[-1]))
    brightness = current.mean(1, keepdim=True)
    light = _around(brightness, tissue)
    turned = ((-2,), (-1,), (-2, -1))[int(uniform(rng, 0, 3))]  # no seam, as a shift would have
    elsewhere = (light + tissue * (brightness - light)).flip(turned)
    grey = uniform(rng, 0.9, 2.2) * light
    tint = torch.tensor([uniform(rng, 0.8, 1.25), uniform(rng, 0.85, 1.1), uniform(rng, 0.75, 1.15)]).view(3, 1, 1)
    relief = 1 + uniform(rng, 0, 0.6) * (elsewhere / elsewhere.mean().clamp_min(1) - 1)
    blotches = 1 + uniform(rng, 0, 0.3) * _blotches(rng, size, int(uniform(rng, 4, 24)))
    pale = (grey * tint * relief * blotches).clamp(0, 255)
    return current + uniform(rng, 0.5, 1.0) * (pale - current)


def _wave(rng: torch.Generator, knots: int) -> Tensor:
    """(_POINTS,): smooth noise through so many knots of variance 1."""
    values = torch.randn(1, 1, knots, generator=rng)
    return F.interpolate(values, _POINTS, mode="linear", align_corners=True)[0, 0]


def _blotches(rng: torch.Generator, size: tuple[int, int], cells: int) -> Tensor:
    """(h, w): smooth noise through so many knots of variance 1 along each side."""
    cells = max(cells, 2)
    values = torch.randn(1, 1, cells, cells, generator=rng)
    return F.interpolate(values, size, mode="bilinear", align_corners=True)[0, 0]

"""Augmentation: one random change, drawn once and applied to every frame of a clip and to its label."""

import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transform

from fedsurg.data.clips import Clip
from fedsurg.data.draws import uniform
from fedsurg.data.labels import IGNORE, is_instrument
from fedsurg.data.lookalikes import lay_pale_tissue, mirror_tissue
from fedsurg.data.magnification import instrument_width
from fedsurg.study.config import AugmentationConfig

_MOST = 4.0  # times a clip is enlarged for `apparent_width`, beside the random scale: more is a blur
_SHOWN = 0.75  # of these clips are cropped to where an instrument is

# RGB -> luma and two chroma axes (NTSC's YIQ); hue is an angle in the chroma plane.
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


class Augmentation:
    """Flip, scale with crop, rotation, look-alikes, colour, blur and noise; past frames move with the current one.

    Motion is what the temporal layer learns from, so nothing may differ between the frames of a clip, except
    sensor noise: its strength is the clip's, its pixels are each frame's own. Clips with look-alikes stand still.

    A range or probability at zero is drawn from like any other, so that it does not shift the draws after it; only
    look-alikes and noise, which draw many numbers, and a flip that is off draw none.

    Args:
        config: ranges and probabilities.
        size: height, width in pixels of what comes out; clips are as large, or larger.
    """

    def __init__(self, config: AugmentationConfig, size: tuple[int, int]) -> None:
        self.config = config
        self.size = size

    def __call__(self, clip: Clip, rng: torch.Generator) -> Clip:
        """The changed clip, of `size`; everything random comes from `rng`."""
        frames, label = self._move(clip.frames, clip.label, rng)
        if self.config.pale_tissue and uniform(rng, 0, 1) < self.config.pale_tissue:
            frames = lay_pale_tissue(frames, label, rng)
        if self.config.reflections and uniform(rng, 0, 1) < self.config.reflections:
            frames = mirror_tissue(frames, label, rng)
        return Clip(self._degrade(self._colour(frames, rng), rng).round_().clamp_(0, 255).to(torch.uint8), label)

    def _move(self, frames: Tensor, label: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Flip, scale, shift and turn; pixels from outside are black, and `IGNORE` in the label.

        The scale is log-uniform, so zooming in and out are equally likely; the shift puts a larger frame's
        crop, or a smaller frame, anywhere it fits. Frames of a magnified site are larger than what comes
        out: then a scale of 1 crops already. With `apparent_width`, thin instruments have that width at a scale of 1,
        and most crops show one.
        """
        low, high = self.config.scale
        flip = self.config.flip and uniform(rng, 0, 1) < 0.5
        scale = math.exp(uniform(rng, math.log(low), math.log(high)))
        place = None
        if self.config.apparent_width:
            scale *= self._enlargement(label)
            place = _instrument_pixel(label, rng) if scale > 1 else None
        sides = list(zip(reversed(frames.shape[-2:]), reversed(self.size), strict=True))  # x, y
        shift = [uniform(rng, -0.5, 0.5) * abs(scale * given - side) for given, side in sides]
        if place:
            x, y = place
            pixel = (sides[0][0] - 1 - x if flip else x, y)
            shift = [_shift_to(rng, at, scale, *side) for at, side in zip(pixel, sides, strict=True)]
        angle = uniform(rng, -self.config.rotation, self.config.rotation)
        moved: Tensor = frames.float()
        target: Tensor = label[None].float()
        if flip:
            moved, target = transform.horizontal_flip(moved), transform.horizontal_flip(target)
        if scale != 1 or angle != 0 or any(shift):
            # One resampling for all of it: cheaper and sharper than one after another.
            moved = transform.affine(moved, angle, shift, scale, [0.0, 0.0], InterpolationMode.BILINEAR)
            target = transform.affine(
                target, angle, shift, scale, [0.0, 0.0], InterpolationMode.NEAREST, fill=[float(IGNORE)]
            )
        return self._cropped(moved), self._cropped(target)[0].to(torch.int64)

    def _enlargement(self, label: Tensor) -> float:
        """What makes the instruments of a label `apparent_width` wide; 1 where they are, or where there are none."""
        width = instrument_width(label.numpy()) * len(label) / self.size[0]  # of the crop's height
        return min(max(self.config.apparent_width / width, 1.0), _MOST) if width else 1.0

    def _cropped(self, frames: Tensor) -> Tensor:
        """The middle of frames that are larger than what comes out."""
        if tuple(frames.shape[-2:]) == self.size:
            return frames
        cropped: Tensor = transform.center_crop(frames, list(self.size))
        return cropped

    def _colour(self, frames: Tensor, rng: torch.Generator) -> Tensor:
        """Brightness, contrast, saturation and hue of (t, 3, h, w) float frames in 0-255."""
        config = self.config
        brightness, contrast, saturation = (
            uniform(rng, max(0.0, 1 - reach), 1 + reach)
            for reach in (config.brightness, config.contrast, config.saturation)
        )
        turn = uniform(rng, -config.hue, config.hue)
        frames = frames / 255  # the range that torchvision assumes of floats
        if brightness != 1:
            frames = transform.adjust_brightness(frames, brightness)
        if contrast != 1:
            frames = transform.adjust_contrast(frames, contrast)
        if saturation != 1:
            frames = transform.adjust_saturation(frames, saturation)
        return (_turn_hue(frames, turn) if turn else frames) * 255

    def _degrade(self, frames: Tensor, rng: torch.Generator) -> Tensor:
        """Blur with the configured probability, then noise."""
        if uniform(rng, 0, 1) < self.config.blur:
            frames = transform.gaussian_blur(frames, [5, 5], [uniform(rng, 0.3, 2.0)])
        if self.config.noise:
            deviation = 255 * uniform(rng, 0, self.config.noise)
            frames = frames + deviation * torch.randn(frames.shape, generator=rng)
        return frames


def _instrument_pixel(label: Tensor, rng: torch.Generator) -> tuple[float, float] | None:
    """x, y of any pixel of an instrument; none in a part of the clips, which may show tissue alone."""
    ys, xs = is_instrument(label).nonzero(as_tuple=True)
    if not len(ys) or uniform(rng, 0, 1) >= _SHOWN:
        return None
    index = int(uniform(rng, 0, len(ys)))
    return float(xs[index]), float(ys[index])


def _shift_to(rng: torch.Generator, pixel: float, scale: float, given: int, side: int) -> float:
    """Along one axis, the shift of a frame of `given` pixels that brings one of them into a crop of `side` pixels,
    anywhere but at its rim, as far as the frame reaches.
    """
    wanted = uniform(rng, 0.1, 0.9) * side
    most = 0.5 * (scale * given - side)
    return min(max(wanted - (side / 2 + (pixel - given / 2) * scale), -most), most)


def _turn_hue(frames: Tensor, turn: float) -> Tensor:
    """Rotate the chroma plane by `turn` (1 = full circle): linear, 30 times faster than by way of HSV."""
    sine, cosine = math.sin(2 * math.pi * turn), math.cos(2 * math.pi * turn)
    rotation = torch.tensor([[1.0, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix = torch.linalg.inv(_YIQ) @ rotation @ _YIQ
    return torch.einsum("ij,tjhw->tihw", matrix, frames)

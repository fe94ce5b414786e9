"""Scores of one frame: overlap in both conventions, and distances between outlines in pixels.

Dice and IoU are counted here; HD95 and NSD come from MONAI, whose Hausdorff distance is right on masks that
are not square (torchmetrics 1.9 is not).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor

from fedsurg.data.labels import IGNORE


@dataclass(frozen=True)
class FrameScore:
    """What one label scored in one frame.

    `dice` and `iou` are presence-aware and lie in 0..1, or NaN where the label is in neither mask. `hd95` is
    in pixels and NaN unless both masks hold the label, so it says nothing about misses: read it beside `nsd`,
    which counts a miss as 0. `dice_lineage` and `iou_lineage` are 1 where the label is in neither mask.
    """

    label: str
    dice: float
    iou: float
    hd95: float
    nsd: float
    dice_lineage: float
    iou_lineage: float


def frame_scores(predicted: Tensor, label: Tensor, names: Sequence[str], tolerance_px: float) -> list[FrameScore]:
    """Score every label of one frame but the background.

    Args:
        predicted: (h, w) int64, indices into `names`.
        label: (h, w) int64, indices into `names`; `IGNORE` marks pixels that count neither for nor against.
        names: what the indices are called; index 0 is the background and is not scored.
        tolerance_px: distance up to which two outlines agree, for the NSD.

    Raises:
        ValueError: the two masks differ in shape or are not (h, w).
    """
    if predicted.shape != label.shape or predicted.ndim != 2:
        raise ValueError(
            f"predicted and label must both be (h, w), got {tuple(predicted.shape)} and {tuple(label.shape)}"
        )
    known = label != IGNORE
    return [
        _score(name, (predicted == index) & known, label == index, tolerance_px)
        for index, name in enumerate(names)
        if index > 0
    ]


def quick_scores(predicted: Tensor, label: Tensor, labels: int) -> tuple[Tensor, Tensor]:
    """Presence-aware Dice and IoU of many frames at once, for the validation of a round.

    Args:
        predicted: (b, h, w) int64, indices below `labels`.
        label: (b, h, w) int64, indices below `labels`, or `IGNORE`.
        labels: number of labels, the background at index 0 included.

    Returns:
        Dice and IoU, each (b,) float32: the mean over the labels that a frame or its prediction holds, the
        background apart; NaN for a frame with none of them.
    """
    known = label != IGNORE
    dice, iou = [], []
    for index in range(1, labels):
        guess, truth = (predicted == index) & known, label == index
        both = (guess & truth).sum((1, 2)).float()
        total = guess.sum((1, 2)).float() + truth.sum((1, 2)).float()
        dice.append(2 * both / total)  # 0 / 0 is NaN: the label is in neither
        iou.append(both / (total - both))
    if not dice:
        empty = torch.full((len(label),), nan)
        return empty, empty.clone()
    return torch.stack(dice).nanmean(0), torch.stack(iou).nanmean(0)


def _score(name: str, guess: Tensor, truth: Tensor, tolerance_px: float) -> FrameScore:
    """Score two boolean (h, w) masks of one label."""
    both = int((guess & truth).sum())
    sizes = int(guess.sum()), int(truth.sum())
    total = sum(sizes)
    if total == 0:
        return FrameScore(name, nan, nan, nan, nan, dice_lineage=1.0, iou_lineage=1.0)
    dice, iou = 2 * both / total, both / (total - both)
    if 0 in sizes:
        return FrameScore(name, dice, iou, nan, 0.0, dice_lineage=dice, iou_lineage=iou)
    hd95, nsd = _outline_scores(guess, truth, tolerance_px)
    return FrameScore(name, dice, iou, hd95, nsd, dice_lineage=dice, iou_lineage=iou)


def _outline_scores(guess: Tensor, truth: Tensor, tolerance_px: float) -> tuple[float, float]:
    """HD95 and NSD of two non-empty (h, w) masks, in pixels.

    MONAI takes the 95th percentile in each direction and then the larger one. A pixel at the rim of the image
    belongs to the outline.
    """
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance  # seconds to import
    from monai.metrics.surface_dice import compute_surface_dice

    first, second = guess[None, None].cpu(), truth[None, None].cpu()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI warns about an argument that it sets itself
        hd95 = compute_hausdorff_distance(first, second, include_background=True, percentile=95)
        nsd = compute_surface_dice(first, second, [tolerance_px], include_background=True)
    return float(hd95), float(nsd)

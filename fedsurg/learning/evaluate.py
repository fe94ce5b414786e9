"""Scores of a network on held-out clips: quick ones in every round, all of them at the end."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fedsurg.data.clips import ClipDataset
from fedsurg.data.labels import LabelSpace
from fedsurg.data.loader import ClipLoader
from fedsurg.data.magnification import view_sizes
from fedsurg.data.site import SiteData
from fedsurg.learning.decision import BY_PIXEL, Decision, expected_iou, predicted_labels
from fedsurg.learning.device import precision
from fedsurg.learning.loss import LossWeights, SegmentationLoss
from fedsurg.metrics.frames import frame_scores, quick_scores
from fedsurg.models.network import SegmentationNetwork
from fedsurg.study.config import Study

_PIXELS = 8 * 512 * 640  # of a batch that is scored: eight frames of the paper's size
_FEW_BYTES = 64 << 20  # of decoded frames are kept: scoring comes by each of them once


@dataclass(frozen=True)
class Quick:
    """Mean loss, Dice and IoU over frames at the size they are seen at; NaN where nothing could be scored.

    `cases` is how many cases the narrowest of these means is over: a frame without instruments, in which none was found
    either, has a loss and no overlap.
    """

    loss: float = math.nan
    dice: float = math.nan
    iou: float = math.nan
    cases: int = 0


@dataclass(frozen=True)
class Prediction:
    """One labelled frame and what the network made of it, both (h, w) label indices at the label's own size."""

    index: int
    predicted: Tensor
    label: Tensor


@torch.no_grad()
def quick_validation(
    network: SegmentationNetwork,
    dataset: ClipDataset,
    labels: LabelSpace,
    weights: LossWeights,
    *,
    device: torch.device,
    max_frames: int = 0,
    mode: str = "auto",
    after_batch: Callable[[], None] = lambda: None,
) -> Quick:
    """Scores at the dataset's size, over all frames or an evenly spread subset.

    What `after_batch` raises ends the work there.
    """
    loss = SegmentationLoss(labels, weights).to(device)
    losses, dices, ious, cases = [], [], [], []
    for indices, (logits,), target in _forward(network, dataset, device, max_frames, mode):
        losses.append(float(loss(logits, target)) * len(target))
        dice, iou = quick_scores(predicted_labels(logits, labels), target, len(labels.names))
        dices.append(dice)
        ious.append(iou)
        cases += [dataset.row(index).case for index in indices]
        after_batch()
    if not losses:
        return Quick()
    scored = ~torch.cat(ious).isnan()
    overlaps = {case for case, known in zip(cases, scored.tolist(), strict=True) if known}
    return Quick(sum(losses) / len(cases), _mean(torch.cat(dices)), _mean(torch.cat(ious)), len(overlaps or set(cases)))


def finished_scores(
    study: Study,
    network: SegmentationNetwork,
    site: SiteData,
    frames: pd.DataFrame,
    device: torch.device,
    look: Callable[[Prediction, ClipDataset], None] = lambda prediction, dataset: None,
    magnification: float = 1.0,
) -> list[dict[str, Any]]:
    """All metrics of a finished model on some frames of a site, on the views that `[evaluation]` asks for.

    Args:
        study: its `evaluation.scales`, `.mirrored`, `.confidence`, `.decision`, `.sureness` and `.tolerance_px` count.
        network: on `device`.
        site: whose files are read.
        frames: the labelled frames, rows of `site.frames`.
        device: to compute on.
        look: called with every prediction and the clips at the first of the sizes.
        magnification: of the site whose model this is: each frame is seen at the study's sizes and at these enlarged
            by it, once where two are the same.

    Returns:
        One row per frame and label, as `score_rows` makes them.

    Raises:
        DataError: `frames` is empty, or a file cannot be used.
    """
    views = _views(study, network, site, frames, magnification)
    rows: list[dict[str, Any]] = []
    for prediction in _predictions_of(study, network, views, device):
        rows += score_rows(prediction, views[0], site.labels, study.evaluation.tolerance_px)
        look(prediction, views[0])
    return rows


def finished_iou(
    study: Study,
    network: SegmentationNetwork,
    site: SiteData,
    frames: pd.DataFrame,
    device: torch.device,
    magnification: float = 1.0,
) -> float:
    """Mean IoU over frames, each over its labels, on the views that `finished_scores` has; NaN: no instrument anywhere.

    Arguments are those of `finished_scores`.

    Raises:
        DataError: as `finished_scores`.
    """
    views = _views(study, network, site, frames, magnification)
    found = [
        quick_scores(one.predicted[None], one.label[None], len(site.labels.names))[1]
        for one in _predictions_of(study, network, views, device)
    ]
    return _mean(torch.cat(found))


def _views(
    study: Study, network: SegmentationNetwork, site: SiteData, frames: pd.DataFrame, magnification: float
) -> list[ClipDataset]:
    """The frames at each size that a finished model sees them at, the study's first."""
    sizes = view_sizes(study.task.image_size, study.evaluation.scales, magnification)
    return [ClipDataset(site, frames, size, network.history, _FEW_BYTES) for size in sizes]


def _predictions_of(
    study: Study, network: SegmentationNetwork, views: Sequence[ClipDataset], device: torch.device
) -> Iterator[Prediction]:
    """`predictions` as `[evaluation]` asks for them."""
    return predictions(
        network,
        views,
        views[0].site.labels,
        device=device,
        mirrored=study.evaluation.mirrored,
        confidence=study.evaluation.confidence,
        decision=Decision.of(study.evaluation),
        mode=study.local.mixed_precision,
    )


@torch.no_grad()
def predictions(
    network: SegmentationNetwork,
    datasets: Sequence[ClipDataset],
    labels: LabelSpace,
    *,
    device: torch.device,
    mirrored: bool = False,
    confidence: float = 0.0,
    decision: Decision = BY_PIXEL,
    mode: str = "auto",
) -> Iterator[Prediction]:
    """Predict every frame at the size of its own label image, so that no label is ever resized.

    Args:
        network: on `device`.
        datasets: the same frames at one or more sizes; the network's probabilities are averaged over them.
        labels: the site's.
        device: to compute on.
        mirrored: average over each frame's mirror image too.
        confidence: a size counts in a frame in proportion to exp(confidence x `expected_iou` there); 0: all alike.
        decision: how the mean becomes labels.
        mode: precision.
    """
    for sizes in zip(*(_frame_by_frame(network, one, device, mode, mirrored) for one in datasets), strict=True):
        index = sizes[0][0]
        truth = datasets[0].label_at_full_size(index)
        found = [_at_full_size(views, truth) for _, views in sizes]
        yield Prediction(index, decision.labels(_averaged(found, confidence, labels.missing), labels), truth)


def score_rows(
    prediction: Prediction, dataset: ClipDataset, labels: LabelSpace, tolerance_px: float
) -> list[dict[str, Any]]:
    """One row per label of a predicted frame: where it comes from, and all metrics."""
    case, clip, frame = dataset.row(prediction.index)
    scores = frame_scores(prediction.predicted, prediction.label, labels.names, tolerance_px)
    return [{"case": case, "clip": clip, "frame": frame} | asdict(score) for score in scores]


def picture(dataset: ClipDataset, prediction: Prediction) -> NDArray[np.uint8]:
    """The predicted frame itself at the label's size, (h, w, 3)."""
    frame = dataset[prediction.index].frames[-1].unsqueeze(0).float()
    resized = F.interpolate(frame, prediction.label.shape, mode="bilinear", antialias=True)[0]
    return resized.round().clamp(0, 255).byte().movedim(0, -1).numpy()


def _forward(
    network: SegmentationNetwork,
    dataset: ClipDataset,
    device: torch.device,
    max_frames: int,
    mode: Any,
    mirrored: bool = False,
) -> Iterator[tuple[list[int], list[Tensor], Tensor]]:
    """Dataset indices, logits (b, k, h, w) of each view of the frames, labels (b, h, w)."""
    network.eval()
    loader = ClipLoader(dataset, None, batch_size=_batch_size(dataset.size))
    for indices, batch in loader.in_order(max_frames):
        frames = batch.frames.to(device)
        with precision(device, mode):
            views = [network(frames).logits.float()]
            if mirrored:
                views.append(network(frames.flip(-1)).logits.float().flip(-1))
        yield indices, views, batch.labels.to(device)


def _frame_by_frame(
    network: SegmentationNetwork, dataset: ClipDataset, device: torch.device, mode: Any, mirrored: bool
) -> Iterator[tuple[int, list[Tensor]]]:
    """Dataset index and logits (k, h, w) of each view, whatever the batches are."""
    for indices, views, _ in _forward(network, dataset, device, 0, mode, mirrored):
        for row, index in enumerate(indices):
            yield index, [view[row] for view in views]


def _at_full_size(views: Sequence[Tensor], truth: Tensor) -> Tensor:
    """Logits (k, h, w) of the mean of some views' probabilities, at the size of the label (h, w)."""
    large = F.interpolate(torch.stack(list(views)), truth.shape, mode="bilinear", align_corners=False)
    return large[0] if len(views) == 1 else _logits(large.softmax(1).mean(0))


def _averaged(sizes: Sequence[Tensor], confidence: float, missing: Sequence[int] = ()) -> Tensor:
    """Logits (k, h, w) of the weighted mean of the probabilities at one or more sizes."""
    if len(sizes) == 1:
        return sizes[0]
    probabilities = torch.stack([logits.softmax(0) for logits in sizes])
    if not confidence:
        return _logits(probabilities.mean(0))
    expected = torch.stack([expected_iou(one, missing) for one in probabilities])
    weights = (confidence * expected).softmax(0)
    return _logits(torch.einsum("s,skhw->khw", weights, probabilities))


def _logits(probabilities: Tensor) -> Tensor:
    return probabilities.clamp_min(1e-12).log()


def _batch_size(size: tuple[int, int]) -> int:
    """As many frames as have about `_PIXELS` together, at most 8: enlarged frames need no more memory than others."""
    return min(max(_PIXELS // (size[0] * size[1]), 1), 8)


def _mean(values: Tensor) -> float:
    return float(values.nanmean())

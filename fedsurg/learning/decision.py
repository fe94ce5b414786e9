"""From probabilities to labels: which pixels of a frame are called an instrument.

The most probable label of each pixel, the rule `pixel`, gets most pixels right. Scores here are overlaps, and an
overlap forgives a pixel too many sooner than one too few: the rule `overlap` calls instruments, of whatever kind, where
expected intersection over expected union is highest (after Nowozin, "Optimal decisions from probabilistic models: the
intersection-over-union case", CVPR 2014). It judges a pixel as if it stood alone; `sureness` judges what hangs
together. Neither needs a label or another network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fedsurg.data.labels import LabelSpace
from fedsurg.learning.loss import label_log_probabilities
from fedsurg.study.config import EvaluationConfig

_SPECK = 0.1  # of the largest area: what is smaller is none to measure others by


@dataclass(frozen=True)
class Decision:
    """How a finished model's probabilities become labels.

    Args:
        overlap: the rule `overlap` instead of `pixel`.
        sureness: a connected area that is called an instrument stays if its mean probability is at least this share of
            that of the frame's surest one, specks left out; 0: all stay.
    """

    overlap: bool = False
    sureness: float = 0.0

    @classmethod
    def of(cls, config: EvaluationConfig) -> "Decision":
        """As `[evaluation]` says."""
        return cls(config.decision == "overlap", config.sureness)

    def labels(self, logits: Tensor, labels: LabelSpace) -> Tensor:
        """(k, h, w) logits -> (h, w) label indices of the site, on the CPU."""
        log_labels = _log_probabilities(logits[None].detach(), labels)[0].cpu()
        found, instrument = log_labels.argmax(0), 1 - log_labels[0].exp()
        if self.overlap and len(log_labels) > 1:
            found = torch.where(most_overlap(instrument), 1 + log_labels[1:].argmax(0), 0)
        if self.sureness:
            found = found * sure(found > 0, instrument, self.sureness)
        return found


BY_PIXEL = Decision()


def predicted_labels(logits: Tensor, labels: LabelSpace) -> Tensor:
    """Most probable label of each pixel: (b, k, h, w) logits -> (b, h, w) label indices of the site."""
    return _log_probabilities(logits, labels).argmax(1)


def most_overlap(instrument: Tensor) -> Tensor:
    """The area (h, w) whose expected intersection over expected union with the instruments is highest.

    With E that ratio, a pixel belongs to the area if its probability is above E / (1 + E), at most a half; so E and the
    area are found in turn (Dinkelbach 1967) until E rises no more. Where no pixel is more likely an instrument than
    not, nothing is called.

    Args:
        instrument: each pixel's probability (h, w) of being an instrument.
    """
    likely = instrument.double()
    best = likely > 0.5
    expected = _overlap(likely, best)
    while best.any():
        area = likely > expected / (1 + expected)
        risen = _overlap(likely, area)
        if risen <= expected:
            break
        best, expected = area, risen
    return best


def sure(called: Tensor, instrument: Tensor, share: float) -> Tensor:
    """`called` (h, w) without the connected areas whose mean probability is below `share` of the surest one's.

    Pale tissue that is half taken for steel stands beside steel that is not doubted. A speck does not count as the
    surest, as a few pixels may be sure by chance.

    Args:
        called: what is called an instrument, on the CPU; pixels that share a side hang together.
        instrument: (h, w) probability of being one.
        share: 0 to 1.
    """
    areas, count = ndimage.label(called.numpy())
    if count < 2:
        return called
    sizes = np.bincount(areas.ravel())[1:]
    means = ndimage.mean(instrument.double().numpy(), areas, np.arange(1, count + 1))
    surest = means[sizes >= _SPECK * sizes.max()].max()
    return torch.from_numpy(np.concatenate([[False], means >= share * surest])[areas])


def expected_iou(probabilities: Tensor, missing: Sequence[int] = ()) -> Tensor:
    """IoU of instruments that a network expects of its own prediction, if its probabilities are right.

    With p the probability of an instrument, a pixel is called one where p > 1/2. It then adds p to the expected
    intersection and 1 to the union; any other pixel adds p to the union. It is low at a size that does not suit the
    network: instruments that are too small or too large for it come out patchy and pale.

    Args:
        probabilities: (k, h, w), the background first.
        missing: classes that are never predicted at the site; what they have goes to the others.

    Returns:
        A scalar, 0 to 1; 0 where nothing is found.
    """
    possible = 1 - probabilities[list(missing)].sum(0)
    instrument = 1 - probabilities[0] / possible.clamp_min(1e-6)
    return _overlap(instrument, instrument > 0.5)


def _overlap(instrument: Tensor, called: Tensor) -> Tensor:
    """Expected intersection over expected union of the area `called` and the instruments, both (h, w)."""
    union = called.sum() + instrument[~called].sum()
    return instrument[called].sum() / union.clamp_min(1.0)


def _log_probabilities(logits: Tensor, labels: LabelSpace) -> Tensor:
    """(b, k, h, w) logits of the study's classes -> (b, l, h, w) log probabilities of the site's labels."""
    missing = torch.zeros(labels.classes, dtype=torch.bool, device=logits.device)
    missing[list(labels.missing)] = True
    return label_log_probabilities(logits, labels.membership().to(logits.device), missing)

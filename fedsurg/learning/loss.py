"""Segmentation loss with partial labels: 0.7 cross-entropy - 0.3 log soft Jaccard (weights are keys)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsurg.data.labels import IGNORE, LabelSpace
from fedsurg.study.config import LocalConfig

_NEVER = -1e4  # logit of a class that a site never labels: no probability, and no infinite gradient


def label_log_probabilities(logits: Tensor, membership: Tensor, missing: Tensor) -> Tensor:
    """Log-probability of each label of a site.

    A label may cover several classes (a site that labels instruments whole); its probability is their sum. A class
    that the site never labels gets no probability, so it contributes nothing to the loss and gets no gradient.

    Args:
        logits: (b, k, h, w).
        membership: (l, k) bool, the classes each label covers.
        missing: (k,) bool, the classes that the site never labels.

    Returns:
        (b, l, h, w). Letters: b batch, k study classes, l the site's labels, h and w pixels.
    """
    logits = logits.float()
    if bool(missing.any()):
        logits = logits.masked_fill(missing[None, :, None, None], _NEVER)
    classes = F.log_softmax(logits, dim=1)
    if membership.shape[0] == membership.shape[1] and bool(
        torch.eye(len(membership), dtype=torch.bool).equal(membership.cpu())
    ):
        return classes
    covered = [torch.logsumexp(classes[:, row], dim=1) for row in membership]
    return torch.stack(covered, dim=1)


@dataclass(frozen=True)
class LossWeights:
    """Weights of the two terms."""

    cross_entropy: float
    jaccard: float

    @classmethod
    def of(cls, config: LocalConfig) -> "LossWeights":
        """The study's weights."""
        return cls(config.cross_entropy, config.jaccard)


class SegmentationLoss(nn.Module):
    """`cross_entropy * CE - jaccard * log(J)`, J the mean soft Jaccard index of the labels present in the batch.

    Args:
        labels: the site's labels, and which study classes they cover.
        weights: of the two terms.
    """

    membership: Tensor
    missing: Tensor

    def __init__(self, labels: LabelSpace, weights: LossWeights) -> None:
        super().__init__()
        self.weights = weights
        missing = torch.zeros(labels.classes, dtype=torch.bool)
        missing[list(labels.missing)] = True
        self.register_buffer("membership", labels.membership(), persistent=False)
        self.register_buffer("missing", missing, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar loss from logits (b, k, h, w) and label indices (b, h, w); pixels of value IGNORE do not count."""
        log_labels = label_log_probabilities(logits, self.membership, self.missing)
        loss = log_labels.new_zeros(())
        if not bool((target != IGNORE).any()):
            return loss + 0.0 * logits.sum()
        if self.weights.cross_entropy:
            loss = loss + self.weights.cross_entropy * F.nll_loss(log_labels, target, ignore_index=IGNORE)
        if self.weights.jaccard:
            loss = loss - self.weights.jaccard * torch.log(soft_jaccard(log_labels.exp(), target))
        return loss


def soft_jaccard(probabilities: Tensor, target: Tensor) -> Tensor:
    """Mean over the labels present of sum(p t) / sum(p + t - p t); probabilities (b, l, h, w), target (b, h, w)."""
    labels = torch.arange(probabilities.shape[1], device=target.device)[:, None, None]
    truth = (target.unsqueeze(1) == labels).to(probabilities.dtype)  # IGNORE is none of them
    predicted = probabilities * (target != IGNORE).unsqueeze(1)
    overlap = (predicted * truth).sum((0, 2, 3))
    union = (predicted + truth).sum((0, 2, 3)) - overlap
    present = truth.sum((0, 2, 3)) > 0
    return ((overlap + 1e-6) / (union + 1e-6))[present].mean()

"""The segmentation loss on arrays small enough for a pencil."""

import math

import pytest
import torch
from torch import Tensor

from fedsurg.data.labels import IGNORE, LabelSpace
from fedsurg.learning.decision import predicted_labels
from fedsurg.learning.loss import LossWeights, SegmentationLoss, label_log_probabilities, soft_jaccard

PARTS = LabelSpace(("background", "shaft", "tip"), ((0,), (1,), (2,)), (), 3)
WHOLE = LabelSpace(("background", "instrument"), ((0,), (1, 2)), (), 3)
NO_TIP = LabelSpace(("background", "shaft"), ((0,), (1,)), (2,), 3)
CE, J = LossWeights(1.0, 0.0), LossWeights(0.0, 1.0)


def pixels(*probabilities: tuple[float, ...]) -> Tensor:
    """Logits (1, k, 1, n) of n pixels with these class probabilities."""
    return torch.tensor(probabilities).log().T[None, :, None, :].clone().requires_grad_()


def target(*labels: int) -> Tensor:
    return torch.tensor(labels)[None, None, :]


LOGITS = ((0.7, 0.2, 0.1), (0.2, 0.5, 0.3))


def test_cross_entropy_by_hand() -> None:
    loss = SegmentationLoss(PARTS, CE)(pixels(*LOGITS), target(0, 2))
    assert loss.item() == pytest.approx(-(math.log(0.7) + math.log(0.3)) / 2, rel=1e-5)


def test_soft_jaccard_by_hand() -> None:
    """Label 0: 0.7 / (0.7 + 0.2 + 1 - 0.7); label 2: 0.3 / (0.1 + 0.3 + 1 - 0.3); label 1 is absent."""
    found = soft_jaccard(pixels(*LOGITS).softmax(1), target(0, 2))
    assert found.item() == pytest.approx((0.7 / 1.2 + 0.3 / 1.1) / 2, rel=1e-5)


def test_the_terms_are_weighted() -> None:
    logits, labels = pixels(*LOGITS), target(0, 2)
    parts = [SegmentationLoss(PARTS, weights)(logits, labels).item() for weights in (CE, J)]
    both = SegmentationLoss(PARTS, LossWeights(0.7, 0.3))(logits, labels).item()
    assert both == pytest.approx(0.7 * parts[0] + 0.3 * parts[1], rel=1e-5)
    assert parts[1] == pytest.approx(-math.log((0.7 / 1.2 + 0.3 / 1.1) / 2), rel=1e-5)


def test_a_perfect_prediction_costs_nothing() -> None:
    logits = torch.full((1, 3, 1, 2), -50.0)
    logits[0, 1, 0, 0] = logits[0, 0, 0, 1] = 50.0
    assert SegmentationLoss(PARTS, LossWeights(0.7, 0.3))(logits, target(1, 0)).item() == pytest.approx(0, abs=1e-5)


def test_a_whole_instrument_is_the_sum_of_its_parts() -> None:
    found = label_log_probabilities(pixels(*LOGITS), WHOLE.membership(), torch.zeros(3, dtype=torch.bool))
    expected = torch.tensor([[0.7, 0.2], [0.3, 0.8]]).log()
    torch.testing.assert_close(found[0, :, 0], expected, rtol=1e-5, atol=1e-6)
    loss = SegmentationLoss(WHOLE, CE)(pixels(*LOGITS), target(1, 1))
    assert loss.item() == pytest.approx(-(math.log(0.3) + math.log(0.8)) / 2, rel=1e-5)


def test_a_whole_instrument_leaves_the_split_of_its_parts_alone() -> None:
    """The gradient of two classes under one label keeps their ratio: d log(p1 + p2) / dz_i is proportional to p_i."""
    logits = pixels((0.6, 0.3, 0.1))
    SegmentationLoss(WHOLE, CE)(logits, target(1)).backward()
    gradient = logits.grad[0, :, 0, 0]
    assert gradient[1].item() / gradient[2].item() == pytest.approx(3, rel=1e-4)


def test_a_missing_class_gets_no_gradient_at_all() -> None:
    logits = pixels(*LOGITS)
    SegmentationLoss(NO_TIP, LossWeights(0.7, 0.3))(logits, target(0, 1)).backward()
    assert torch.equal(logits.grad[0, 2], torch.zeros(1, 2))
    assert (logits.grad[0, :2] != 0).all()


def test_a_missing_class_contributes_nothing() -> None:
    losses = [
        SegmentationLoss(NO_TIP, LossWeights(0.7, 0.3))(logits, target(0, 1)).item()
        for logits in (pixels(*LOGITS), pixels((0.7, 0.2, 0.0001), (0.2, 0.5, 900.0)))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    two = SegmentationLoss(LabelSpace(("b", "s"), ((0,), (1,)), (), 2), LossWeights(0.7, 0.3))
    assert losses[0] == pytest.approx(two(pixels((0.7, 0.2), (0.2, 0.5)), target(0, 1)).item(), rel=1e-5)


def test_ignored_pixels_do_not_count() -> None:
    loss = SegmentationLoss(PARTS, LossWeights(0.7, 0.3))
    seen, unseen = pixels(LOGITS[0]), pixels(*LOGITS)
    ignored = loss(unseen, target(0, IGNORE))
    assert ignored.item() == pytest.approx(loss(seen, target(0)).item(), rel=1e-6)
    ignored.backward()
    assert torch.equal(unseen.grad[..., 1], torch.zeros(1, 3, 1))


def test_nothing_labelled_is_a_loss_of_zero_with_zero_gradient() -> None:
    logits = pixels(*LOGITS)
    loss = SegmentationLoss(PARTS, LossWeights(0.7, 0.3))(logits, target(IGNORE, IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits = torch.zeros(1, 3, 64, 64, dtype=torch.bfloat16)
    loss = SegmentationLoss(PARTS, LossWeights(0.7, 0.3))(logits, torch.zeros(1, 64, 64, dtype=torch.int64))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.7 * math.log(3) + 0.3 * math.log(3), rel=1e-5)


@pytest.mark.parametrize(("labels", "expected"), [(PARTS, [0, 1]), (WHOLE, [1, 1]), (NO_TIP, [0, 1])])
def test_predicted_labels_are_the_sites_own(labels: LabelSpace, expected: list[int]) -> None:
    """Probabilities 0.4/0.35/0.25: background wins among parts, the whole instrument (0.6) against background."""
    logits = pixels((0.4, 0.35, 0.25), (0.1, 0.5, 0.4))
    assert predicted_labels(logits, labels)[0, 0].tolist() == expected

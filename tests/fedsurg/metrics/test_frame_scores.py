"""Frame scores against numbers worked out by hand, in both conventions."""

from math import isnan, nan, sqrt

import pytest
import torch
from torch import Tensor

from fedsurg.data.labels import IGNORE
from fedsurg.metrics.frames import FrameScore, frame_scores, quick_scores

NAMES = ("background", "shaft")


def mask(height: int, width: int, *boxes: tuple[int, int, int, int], value: int = 1) -> Tensor:
    """(height, width) int64 with `value` in the boxes (top, bottom, left, right), ends excluded."""
    result = torch.zeros(height, width, dtype=torch.int64)
    for top, bottom, left, right in boxes:
        result[top:bottom, left:right] = value
    return result


def score(predicted: Tensor, label: Tensor, tolerance_px: float = 1.0) -> FrameScore:
    (only,) = frame_scores(predicted, label, NAMES, tolerance_px)
    return only


def test_two_squares_that_overlap_in_one_column() -> None:
    # 3 x 3 squares shifted by 2: 3 pixels shared, 9 + 9 in all, 15 in the union.
    found = score(mask(6, 11, (1, 4, 1, 4)), mask(6, 11, (1, 4, 3, 6)))
    assert found.dice == pytest.approx(6 / 18)
    assert found.iou == pytest.approx(3 / 15)
    assert (found.dice_lineage, found.iou_lineage) == (found.dice, found.iou)
    # Outline of a 3 x 3 square: 8 pixels. Of either, the column on the other outline (3 pixels, distance 0)
    # and the middle column (top and bottom pixel, distance 1) are within 1 px: 5 of 8; the far one is 2 away.
    assert found.nsd == pytest.approx(10 / 16)
    assert found.hd95 == pytest.approx(2.0)


def test_distances_are_in_pixels_along_both_axes_of_a_wide_mask() -> None:
    across = score(mask(4, 20, (1, 2, 0, 1)), mask(4, 20, (1, 2, 17, 18)))
    down = score(mask(4, 20, (0, 1, 5, 6)), mask(4, 20, (3, 4, 5, 6)))
    slanted = score(mask(4, 20, (0, 1, 5, 6)), mask(4, 20, (3, 4, 9, 10)))
    assert (across.hd95, down.hd95) == (17.0, 3.0)
    assert slanted.hd95 == pytest.approx(sqrt(3**2 + 4**2))


@pytest.mark.parametrize(("tolerance_px", "nsd"), [(2.9, 0.0), (3.0, 1.0)])
def test_surface_distance_agrees_up_to_the_tolerance_itself(tolerance_px: float, nsd: float) -> None:
    assert score(mask(5, 9, (2, 3, 1, 2)), mask(5, 9, (2, 3, 4, 5)), tolerance_px).nsd == nsd


def test_the_95th_percentile_is_taken_in_each_direction() -> None:
    # Truth: a line of 21 pixels; prediction: the same line and one pixel 5 below it. From prediction to truth
    # 21 distances of 0 and one of 5: the 95th percentile sits at 0.95 * 21 = 19.95, between two zeros.
    line = mask(9, 31, (1, 2, 3, 24))
    speck = line.clone()
    speck[6, 10] = 1
    assert score(speck, line).hd95 == 0.0
    # Two stray pixels: sorted distances end 0, 5, 5 at positions 20, 21, 22; 0.95 * 22 = 20.9 -> 0.9 * 5.
    speck[6, 11] = 1
    assert score(speck, line).hd95 == pytest.approx(4.5)


def test_a_label_in_neither_mask_is_left_out_or_counts_one() -> None:
    found = score(mask(5, 8), mask(5, 8))
    assert all(isnan(value) for value in (found.dice, found.iou, found.hd95, found.nsd))
    assert (found.dice_lineage, found.iou_lineage) == (1.0, 1.0)


@pytest.mark.parametrize("swap", [False, True])
def test_a_label_in_one_mask_only_counts_nought(swap: bool) -> None:
    box, nothing = mask(5, 8, (1, 3, 1, 3)), mask(5, 8)
    found = score(nothing, box) if swap else score(box, nothing)
    assert (found.dice, found.iou, found.nsd, found.dice_lineage, found.iou_lineage) == (0, 0, 0, 0, 0)
    assert isnan(found.hd95)


def test_ignored_pixels_count_neither_for_nor_against() -> None:
    label = mask(4, 6, (0, 2, 0, 2))
    label[2:, :] = IGNORE
    predicted = mask(4, 6, (0, 4, 0, 2))  # twice as tall as the truth, the lower half where nobody knows
    found = score(predicted, label)
    assert (found.dice, found.iou, found.hd95, found.nsd) == (1.0, 1.0, 0.0, 1.0)


def test_every_label_but_the_background_is_scored_by_name() -> None:
    label = mask(6, 8, (0, 3, 0, 3)) + mask(6, 8, (4, 6, 4, 8), value=2)
    found = frame_scores(label, label, ("background", "shaft", "wrist", "clip"), 1.0)
    assert [one.label for one in found] == ["shaft", "wrist", "clip"]
    assert [one.dice_lineage for one in found] == [1.0, 1.0, 1.0]
    assert isnan(found[2].dice)


def test_masks_of_different_shapes_are_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(4, 6\) and \(6, 4\)"):
        frame_scores(mask(4, 6), mask(6, 4), NAMES, 1.0)


def test_quick_scores_by_hand() -> None:
    label = torch.stack([mask(4, 6, (0, 2, 0, 2)), mask(4, 6), mask(4, 6)])
    predicted = torch.stack([mask(4, 6, (0, 2, 1, 3)), mask(4, 6), mask(4, 6, (0, 1, 0, 1), value=2)])
    dice, iou = quick_scores(predicted, label, labels=3)
    # Frame 0: label 1 shares 2 of 4 + 4 pixels, label 2 is nowhere; frame 1 is empty; frame 2 sees a phantom.
    torch.testing.assert_close(dice, torch.tensor([0.5, nan, 0.0]), equal_nan=True)
    torch.testing.assert_close(iou, torch.tensor([1 / 3, nan, 0.0]), equal_nan=True)


def test_quick_scores_equal_the_mean_of_the_full_scores() -> None:
    draw = torch.Generator().manual_seed(3)
    label = torch.randint(0, 3, (4, 8, 12), generator=draw)
    predicted = torch.randint(0, 3, (4, 8, 12), generator=draw)
    label[:, :2] = IGNORE
    label[3][label[3] == 2] = 0
    dice, iou = quick_scores(predicted, label, labels=3)
    for frame in range(4):
        full = frame_scores(predicted[frame], label[frame], ("background", "a", "b"), 1.0)
        assert dice[frame] == pytest.approx(sum(one.dice for one in full) / 2, abs=1e-6)
        assert iou[frame] == pytest.approx(sum(one.iou for one in full) / 2, abs=1e-6)


def test_quick_scores_of_a_background_only_task_are_nan() -> None:
    dice, iou = quick_scores(torch.zeros(2, 3, 4).long(), torch.zeros(2, 3, 4).long(), labels=1)
    assert dice.shape == iou.shape == (2,)
    assert torch.stack([dice, iou]).isnan().all()

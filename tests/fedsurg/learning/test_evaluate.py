"""Scoring: what a network sees of a frame, and how its views are averaged. The networks here are a few lines each."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from fedsurg.data.clips import ClipDataset
from fedsurg.data.site import SiteData, load_site
from fedsurg.learning import evaluate
from fedsurg.learning.decision import expected_iou
from fedsurg.learning.evaluate import _averaged, _batch_size, predictions, quick_validation
from fedsurg.learning.loss import LossWeights
from fedsurg.study import Study

CPU = torch.device("cpu")
SIZE, LARGE = (48, 64), (96, 128)


class Told(nn.Module):
    """A network that answers with `logits_of` the frames (b,3,h,w)."""

    def __init__(self, logits_of: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.logits_of = logits_of

    def forward(self, frames: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits_of(frames[:, -1]))


@pytest.fixture
def site(data: Path, tiny_study: Callable[..., Study]) -> SiteData:
    return load_site(data / "north", tiny_study().task)


def served(site: SiteData, *sizes: tuple[int, int]) -> list[ClipDataset]:
    return [ClipDataset(site, site.split("train").head(3), size, 1) for size in sizes]


def evenly(frames: Tensor, *logits: float) -> Tensor:
    """The same logits in every pixel: (b,k,h,w)."""
    b, _, h, w = frames.shape
    return torch.tensor([*logits, -20.0, -20.0])[None, :, None, None].expand(b, -1, h, w).clone()


def test_probabilities_are_averaged() -> None:
    one, two = torch.tensor([3.0, 0.0]), torch.tensor([-1.0, 0.0])
    both = _averaged([view.reshape(2, 1, 1) for view in (one, two)], 0.0)
    expected = (one.softmax(0) + two.softmax(0)) / 2
    torch.testing.assert_close(both.softmax(0).flatten(), expected)


def test_the_iou_that_a_network_expects_is_the_sum_of_what_it_believes() -> None:
    """Instrument 0.9 and 0.7 (called so), 0.4 and 0.0 (not): (0.9 + 0.7) / (1 + 1 + 0.4 + 0)."""
    instrument = torch.tensor([[0.9, 0.7], [0.4, 0.0]])
    parts = torch.stack([1 - instrument, instrument / 4, instrument * 3 / 4])
    assert float(expected_iou(parts)) == pytest.approx(1.6 / 2.4)
    assert float(expected_iou(torch.stack([torch.ones(2, 2), torch.zeros(2, 2)]))) == 0


def test_a_sure_size_counts_more_the_higher_the_confidence() -> None:
    """Expected IoU 0.9 and 0.6 in a frame that is all instrument: weights exp(0.9 c) and exp(0.6 c)."""
    sizes = [torch.tensor([1 - p, p]).log().reshape(2, 1, 1) for p in (0.9, 0.6)]
    for confidence in (0.0, 10.0):
        sure = math.exp(0.9 * confidence) / (math.exp(0.9 * confidence) + math.exp(0.6 * confidence))
        both = _averaged(sizes, confidence).softmax(0)
        assert float(both[1]) == pytest.approx(0.9 * sure + 0.6 * (1 - sure))


def test_each_frame_is_weighed_by_itself(site: SiteData) -> None:
    """At one size surely background, at the other an instrument, in the second frame of the batch a faint one: with
    confidence the instrument wins where it is not faint.
    """

    def shy(frames: Tensor) -> Tensor:
        logits = evenly(frames, 2.5, 0.0) if frames.shape[-2:] == SIZE else evenly(frames, 0.0, 1.5)
        if frames.shape[-2:] == LARGE:
            logits[1, 1] = -1.5
        return logits

    for confidence, labels in ((0.0, [0, 0, 0]), (10.0, [1, 0, 1])):
        found = predictions(
            Told(shy),  # type: ignore[arg-type]
            served(site, SIZE, LARGE),
            site.labels,
            device=CPU,
            confidence=confidence,
        )
        assert [one.predicted.unique().tolist() for one in found] == [[label] for label in labels]


def test_sizes_may_come_in_batches_of_different_lengths(site: SiteData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "_PIXELS", 2 * SIZE[0] * SIZE[1])
    network = Told(lambda frames: evenly(frames, 0.0, 1.0))
    found = list(predictions(network, served(site, SIZE, LARGE), site.labels, device=CPU))  # type: ignore[arg-type]
    assert [one.index for one in found] == [0, 1, 2]


def test_a_class_that_a_site_never_labels_does_not_make_a_size_trusted() -> None:
    """0.2 background, 0.1 shaft, 0.7 of a part that is never predicted there: it is background, so nothing is found."""
    probabilities = torch.tensor([0.2, 0.1, 0.7]).reshape(3, 1, 1)
    assert float(expected_iou(probabilities)) == pytest.approx(0.8)
    assert float(expected_iou(probabilities, (2,))) == 0


def test_scores_say_over_how_many_cases_they_are(site: SiteData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the frames that were looked at, those that have an overlap: a frame without an instrument has none."""
    dataset = ClipDataset(site, site.split("train"), SIZE, 1)
    nothing = Told(lambda frames: evenly(frames, 5.0, 0.0))
    score = partial(quick_validation, nothing, dataset, site.labels, LossWeights(0.7, 0.3), device=CPU)
    assert (score().cases, score(max_frames=1).cases) == (2, 1)
    first = dataset.row(0).case
    labels = dataset._full_label
    empty = [dataset.row(index).case == first for index in range(len(dataset))]
    monkeypatch.setattr(dataset, "_full_label", lambda index: labels(index) * (not empty[index]))
    dataset._cache = type(dataset._cache)(0)  # of what was decoded above
    assert score().cases == 1
    assert math.isfinite(score().loss)
    empty = [True] * len(dataset)
    assert (score().cases, math.isnan(score().iou)) == (2, True)  # a loss over two cases and nothing else


@pytest.mark.parametrize(("size", "frames"), [((96, 128), 8), ((512, 640), 8), ((1024, 1280), 2), ((4096, 5120), 1)])
def test_large_frames_are_scored_in_smaller_batches(size: tuple[int, int], frames: int) -> None:
    assert _batch_size(size) == frames


def test_a_frame_is_seen_at_every_size(site: SiteData) -> None:
    """Slightly for the background at one size, surely for the first part at the other: together it is the part."""
    sure = Told(lambda frames: evenly(frames, 0.4, 0.0) if frames.shape[-2:] == SIZE else evenly(frames, 0.0, 3.0))
    for sizes, label in (((SIZE,), 0), ((LARGE,), 1), ((SIZE, LARGE), 1)):
        found = list(predictions(sure, served(site, *sizes), site.labels, device=CPU))  # type: ignore[arg-type]
        assert [one.index for one in found] == [0, 1, 2]
        assert all(one.predicted.shape == one.label.shape for one in found)
        assert {int(value) for one in found for value in one.predicted.unique()} == {label}


def test_a_mirrored_view_is_turned_back(site: SiteData) -> None:
    """A network that answers by what it sees gives the same twice; one that answers by place alone evens itself out."""

    def by_brightness(frames: Tensor) -> Tensor:
        logits = evenly(frames, 0.0, 0.0)
        logits[:, 1] = 4 * frames.mean(1)
        return logits

    def by_place(frames: Tensor) -> Tensor:
        logits = evenly(frames, 1.0, 0.0)
        logits[:, 1, :, : frames.shape[-1] // 4] = 9.0  # surely an instrument on the left, whatever is there
        return logits

    def labels(network: nn.Module, mirrored: bool) -> Tensor:
        found = predictions(network, served(site, SIZE), site.labels, device=CPU, mirrored=mirrored)  # type: ignore[arg-type]
        return torch.stack([one.predicted for one in found])

    seen = labels(Told(by_brightness), False)
    assert 0 < seen.float().mean() < 1
    assert labels(Told(by_brightness), True).equal(seen)
    plain, even = labels(Told(by_place), False), labels(Told(by_place), True)
    assert not plain.flip(-1).equal(plain)
    assert even.flip(-1).equal(even)
    assert even[..., 0].eq(1).all()

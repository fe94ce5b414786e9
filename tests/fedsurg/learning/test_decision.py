"""Which pixels are called an instrument."""

from itertools import product

import pytest
import torch
from torch import Tensor

from fedsurg.data.labels import LabelSpace
from fedsurg.learning.decision import BY_PIXEL, Decision, most_overlap, sure


def spread(*instrument: float) -> Tensor:
    """Logits (2, 1, n) of a background and one kind of instrument."""
    likely = torch.tensor([instrument])
    return torch.stack([1 - likely, likely]).log()


@pytest.fixture
def whole() -> LabelSpace:
    return LabelSpace(("background", "instrument"), ((0,), (1,)), (), 2)


@pytest.mark.parametrize("seed", range(20))
def test_no_other_area_has_a_higher_ratio(seed: int) -> None:
    """All 2^8 areas of eight pixels are tried."""
    likely = torch.rand(2, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def expected(area: Tensor) -> float:
        return float(likely[area].sum() / (area.sum() + likely[~area].sum()))

    best = max(expected(torch.tensor(bits).reshape(2, 4)) for bits in product((False, True), repeat=8))
    assert expected(most_overlap(likely)) == pytest.approx(best)


def test_what_is_half_believed_is_called_where_little_is_believed() -> None:
    """0.6 and 0.4: 0.6 / 1.4 = 0.43 is expected of one, 1.0 / 2 of both; beside twenty of 0.99 0.4 is none."""
    assert most_overlap(torch.tensor([[0.6, 0.4, 0.0]])).tolist() == [[True, True, False]]
    assert most_overlap(torch.tensor([[0.99] * 20 + [0.4]])).tolist() == [[True] * 20 + [False]]


def test_nothing_is_called_where_nothing_is_likely() -> None:
    assert not most_overlap(torch.full((4, 4), 0.5)).any()
    assert not most_overlap(torch.zeros(4, 4)).any()


def test_an_area_stays_if_it_is_nearly_as_sure_as_the_surest() -> None:
    """Means 0.9, 0.75 and 0.6: at 0.8 of the surest, 0.72, the last goes, however sure its best pixel is."""
    likely = torch.tensor([[0.9, 0.9, 0.0, 0.75, 0.75, 0.0, 0.95, 0.25]])
    called = likely > 0.2
    assert sure(called, likely, 0.8).tolist() == [[True, True, False, True, True, False, False, False]]
    assert torch.equal(sure(called, likely, 0.1), called)
    assert not sure(likely > 1, likely, 0.8).any()


def test_a_speck_is_none_to_measure_others_by() -> None:
    """One pixel of 0.97 beside twenty of 0.75: 0.75 is above 0.8 of its own, and below 0.8 of 0.97."""
    likely = torch.tensor([[0.97, 0.0] + [0.75] * 20])
    assert sure(likely > 0.5, likely, 0.8).sum() == 21
    assert sure(likely > 0.5, likely, 1.0).sum() == 21


def test_a_site_that_never_labels_an_instrument_has_background_alone() -> None:
    labels = LabelSpace(("background",), ((0,),), (1,), 2)
    assert Decision(overlap=True, sureness=0.8).labels(spread(0.9, 0.1), labels).tolist() == [[0, 0]]


def test_the_same_as_each_pixels_likeliest_label_unless_asked_for_more(whole: LabelSpace) -> None:
    logits = spread(0.9, 0.4, 0.1, 0.51, 0.1)
    assert BY_PIXEL.labels(logits, whole).tolist() == [[1, 0, 0, 1, 0]]
    assert Decision(overlap=True).labels(logits, whole).tolist() == [[1, 1, 0, 1, 0]]
    assert Decision(sureness=0.8).labels(logits, whole).tolist() == [[1, 0, 0, 0, 0]]
    assert Decision(overlap=True, sureness=0.8).labels(logits, whole).tolist() == [[1, 1, 0, 0, 0]]


def test_what_is_called_an_instrument_is_its_likeliest_part() -> None:
    """0.45 background, 0.35 shaft, 0.2 wrist beside a sure wrist: by overlap the first is an instrument, so a shaft."""
    parts = LabelSpace(("background", "shaft", "wrist"), ((0,), (1,), (2,)), (), 3)
    logits = torch.tensor([[0.45, 0.35, 0.2], [0.1, 0.1, 0.8], [1.0, 1e-6, 1e-6]]).log().T.reshape(3, 1, 3)
    assert BY_PIXEL.labels(logits, parts).tolist() == [[0, 2, 0]]
    assert Decision(overlap=True).labels(logits, parts).tolist() == [[1, 2, 0]]

"""Statistics over sites and cases, against numbers computed by hand."""

import itertools
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsurg.metrics.statistics import holm, over_sites, paired, paired_differences, signed_rank

TWO_SITES = {"north": np.array([0.2, 0.4]), "east": np.array([0.6, 0.8, 1.0, nan])}  # means 0.3 and 0.8


def test_sites_weigh_alike_in_the_mean() -> None:
    assert over_sites(TWO_SITES, 10, "seed").value == pytest.approx(0.55)


@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=9), min_size=1, max_size=4))
def test_the_interval_holds_its_value(sites: list[list[float]]) -> None:
    found = over_sites({str(number): np.array(cases) for number, cases in enumerate(sites)}, 400, "seed")
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9


def test_cases_are_drawn_anew_within_their_site() -> None:
    """The extremes of the mean over sites are (0.2 + 0.6) / 2 and (0.4 + 1.0) / 2."""
    found = over_sites(TWO_SITES, 4000, "seed")
    assert 0.4 <= found.low < found.value < found.high <= 0.7
    # north: 0.2, 0.3, 0.4 with 1/4, 1/2, 1/4; east: standard deviation of its mean 0.163 / sqrt 3
    deviation = np.sqrt(0.1**2 / 2 + (np.std([0.6, 0.8, 1.0]) / np.sqrt(3)) ** 2) / 2
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * deviation, rel=0.1)


def test_the_same_seed_draws_the_same_cases() -> None:
    first, again, other = (over_sites(TWO_SITES, 50, seed) for seed in ("a", "a", "b"))
    assert first == again
    assert first != other


def interval(values: list[float], samples: int = 300, seed: int = 1) -> tuple[float, float]:
    """Of one site with these cases."""
    found = over_sites({"north": np.array(values)}, samples, seed)
    return found.low, found.high


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.integers(0, 5))
def test_the_interval_lies_within_the_values(values: list[float], seed: int) -> None:
    low, high = interval(values, seed=seed)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12


def test_the_interval_shifts_and_scales_with_the_values() -> None:
    values = np.array([0.1, 0.4, 0.35, 0.9])
    low, high = interval(list(values))
    assert interval(list(2 * values + 3)) == pytest.approx((2 * low + 3, 2 * high + 3))
    assert interval(list(values), seed=2) != (low, high)


def test_two_values_give_the_whole_span() -> None:
    # A resample of {0, 1} is all 0 or all 1 a quarter of the time each: 2.5 % and 97.5 % fall into those.
    assert interval([0.0, 1.0], samples=2000) == (0.0, 1.0)


@pytest.mark.parametrize("values", [[], [0.4], [0.4, nan], [nan, nan]])
def test_fewer_than_two_cases_give_no_interval(values: list[float]) -> None:
    assert all(isnan(end) for end in interval(values))


def test_a_site_with_one_case_adds_no_width() -> None:
    alone = over_sites({"north": np.array([0.2, 0.4]), "east": np.array([0.8])}, 500, "seed")
    assert (alone.low, alone.high) == (0.5, pytest.approx(0.6))
    single = over_sites({"north": np.array([0.5]), "east": np.array([0.7])}, 500, "seed")
    assert single.value == pytest.approx(0.6)
    assert isnan(single.low)
    assert isnan(single.high)
    assert isnan(over_sites({"north": np.array([nan])}, 10, "seed").value)


def test_paired_differences_are_of_the_cases_that_both_have() -> None:
    first = {("north", "a"): 0.5, ("north", "b"): 0.7, ("east", "c"): 0.9, ("east", "d"): 0.4}
    second = {("north", "a"): 0.4, ("north", "b"): 0.4, ("east", "c"): 0.8, ("east", "d"): nan, ("east", "e"): 0.1}
    found = paired(first, second, 200, "seed")
    assert found.pairs == 3
    assert found.estimate.value == pytest.approx((0.2 + 0.1) / 2)  # north: mean of 0.1 and 0.3; east: 0.1
    assert found.p == signed_rank([0.1, 0.3, 0.1])


def test_differences_are_sorted_by_site_and_case_whatever_the_order() -> None:
    first = {("north", "b"): 0.7, ("east", "c"): 0.9, ("north", "a"): 0.5}
    found = paired_differences(first, dict.fromkeys([*first, ("west", "d")], 0.4))
    assert list(found) == ["east", "north"]
    assert found["north"] == pytest.approx([0.1, 0.3])
    assert paired_differences(first, {}) == {}


def test_sites_weigh_alike_whatever_their_number_of_cases() -> None:
    first = {("north", str(case)): -0.04 for case in range(5)} | {("east", str(case)): 0.06 for case in range(3)}
    found = paired(first, dict.fromkeys(first, 0.0), 10, "seed")
    assert found.estimate.value == pytest.approx(0.01)  # all cases alike: (3 * 0.06 - 5 * 0.04) / 8 = -0.0025


def test_the_signed_rank_test_of_a_few_cases() -> None:
    """Five differences of one sign: 2 of the 2^5 sign patterns are as extreme."""
    assert signed_rank([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx(2 / 32)
    # Ranks 1 2 3 4, the smallest negative: W = 1; patterns with W <= 1 are {} and {1}, twice: 4 of 16
    assert signed_rank([-0.01, 0.02, 0.03, 0.04]) == pytest.approx(4 / 16)
    assert signed_rank([0.0, 0.0, 0.0]) == 1.0
    assert isnan(signed_rank([0.3]))


def test_holm_by_hand() -> None:
    """Sorted 0.01 0.02 0.03 0.2, times 4 3 2 1: 0.04 0.06 0.06 0.2, where the third may not fall below the second."""
    assert holm([0.03, 0.01, 0.2, 0.02]) == pytest.approx([0.06, 0.04, 0.2, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    adjusted = holm([nan, 0.02, nan])
    assert adjusted[1] == 0.02
    assert isnan(adjusted[0])
    assert isnan(adjusted[2])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_never_lowers(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(value <= one <= 1 for value, one in zip(values, adjusted, strict=True))
    order = sorted(range(len(values)), key=values.__getitem__)
    assert all(adjusted[one] <= adjusted[two] for one, two in itertools.pairwise(order))

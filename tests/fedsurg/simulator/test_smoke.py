"""Smoke: it drifts, rises where tissue is coagulated, and thins; by hand on small pictures."""

from dataclasses import replace

import numpy as np
import pytest

from fedsurg.simulator.smoke import LASTING_S, Puff, Smoke, draw_smoke, moments_of_puffs

SIZE = (48, 64)


def smoke_of(haze: float = 0.0, plume: float = 0.0) -> Smoke:
    return replace(draw_smoke(np.random.default_rng(3), 0.0), haze=haze, plume=plume)


def test_haze_drifts_without_jumps_and_is_not_drawn_anew() -> None:
    hazy = smoke_of(haze=0.4)
    first, soon, late = (hazy.at(time, SIZE) for time in (0.0, 0.05, 5.0))
    assert first is not None and soon is not None and late is not None
    assert first.min() >= 0.4 * 0.4 - 1e-6 and first.max() <= 0.4 + 1e-6
    assert 0 < np.abs(soon - first).max() < 0.03
    assert np.abs(late - first).max() > 0.08
    assert np.array_equal(first, hazy.at(0.0, SIZE))


def test_clear_air_has_none() -> None:
    assert smoke_of().at(0.0, SIZE, [Puff(0.5, 0.5, 0.4)]) is None  # what it coagulates does not smoke
    assert smoke_of(plume=0.5).at(0.0, SIZE) is None


def test_a_plume_is_thickest_where_it_rose_and_thins_away() -> None:
    calm = replace(smoke_of(plume=0.6), wind=np.zeros(2))
    shares = [calm.at(9.0, SIZE, [Puff(age, 0.25, 0.5)]) for age in (0.4, 1.5, LASTING_S)]
    young, old, gone = (share for share in shares if share is not None)
    row, column = np.unravel_index(young.argmax(), young.shape)
    assert abs(column - 16) <= 4 and abs(row - 32) <= 4  # 0.25 and 0.5 of the longer side
    assert young.max() > 2 * old.max() > 0 == gone.max()
    assert (old > 0.25 * old.max()).sum() > 2 * (young > 0.25 * young.max()).sum()


def test_a_plume_is_blown_with_the_wind() -> None:
    windy = replace(smoke_of(plume=0.6), wind=np.array([0.0, 0.3]), layers=(np.ones((64, 64)),) * 2)
    share = windy.at(0.0, SIZE, [Puff(1.0, 0.2, 0.4)])
    assert share is not None
    assert abs(int(share.max(axis=0).argmax()) - 32) <= 2  # half of the longer side


def test_puffs_are_given_off_at_the_same_moments_whenever_one_looks() -> None:
    early, late = moments_of_puffs(1.0), moments_of_puffs(1.1)
    assert set(early[1:]) <= set(late)
    assert min(late) >= 1.1 - LASTING_S and max(late) <= 1.1


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_as_many_clips_are_hazy_as_the_profile_says(probability: float) -> None:
    hazy = [bool(draw_smoke(np.random.default_rng(seed), probability).haze) for seed in range(20)]
    assert set(hazy) == {bool(probability)}

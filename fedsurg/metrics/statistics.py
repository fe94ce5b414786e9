"""How sure a score or a difference is. The unit is the case: frames of one operation resemble each other.

Every value below is of one case at one site, already averaged over seeds (and folds), so that a case counts once. Sites
weigh alike, however many cases they have, as in every mean over a federation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

from fedsurg.files import derived_seed

ByCase = Mapping[tuple[str, str], float]  # (site, case) -> value
Values = Mapping[str, NDArray[np.float64]]  # site -> one value per case

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN ends where no site has two cases."""

    value: float
    low: float
    high: float


NONE = Estimate(nan, nan, nan)


@dataclass(frozen=True)
class Paired:
    """How far one variant is above another on the same cases.

    `estimate` is the mean over sites of the mean difference over cases; `p` is of the Wilcoxon signed-rank test over
    all cases, two-sided, not corrected; `pairs` counts cases.
    """

    estimate: Estimate
    p: float
    pairs: int


def over_sites(values: Values, samples: int, *seed: object) -> Estimate:
    """The mean over sites of the mean over their cases, with a bootstrap interval: cases are drawn anew in each site.

    Args:
        values: cases by site; NaN is left out, and a site without any value.
        samples: number of resamples.
        seed: parts of the random seed; the same parts draw the same of as many cases, so variants are resampled alike.
    """
    known = {site: found for site, cases in sorted(values.items()) if len(found := cases[~np.isnan(cases)])}
    if not known:
        return NONE
    value = float(np.mean([cases.mean() for cases in known.values()]))
    if all(len(cases) < 2 for cases in known.values()):
        return Estimate(value, nan, nan)
    draws = np.stack([_resampled(cases, samples, derived_seed(*seed, site)) for site, cases in known.items()], axis=1)
    low, high = np.quantile(draws.mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))


def paired_differences(first: ByCase, second: ByCase) -> Values:
    """`first` minus `second` for every case that both have, by site; NaN is left out.

    Pairing takes the difficulty of a case out of a comparison.
    """
    by_site: dict[str, list[float]] = {}
    for site, case in sorted(first):
        value = first[site, case] - second.get((site, case), nan)
        if not isnan(value):
            by_site.setdefault(site, []).append(value)
    return {site: np.array(found) for site, found in by_site.items()}


def paired(first: ByCase, second: ByCase, samples: int, *seed: object) -> Paired:
    """`first` minus `second` over the (site, case) pairs that both have."""
    values = paired_differences(first, second)
    pooled = [float(value) for cases in values.values() for value in cases]
    return Paired(over_sites(values, samples, *seed), signed_rank(pooled), len(pooled))


def signed_rank(differences: Sequence[float]) -> float:
    """Two-sided p of the Wilcoxon signed-rank test; 1 where all differences are 0, NaN below two cases."""
    from scipy.stats import wilcoxon

    if len(differences) < 2:
        return nan
    if not any(differences):
        return 1.0
    return float(wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction (1979) of a family of tests: adjusted p, in the order given; NaN is no test and stays NaN."""
    tests = sorted((p, place) for place, p in enumerate(p_values) if not isnan(p))
    adjusted = [nan] * len(p_values)
    least = 0.0
    for rank, (p, place) in enumerate(tests):
        least = max(least, min(1.0, (len(tests) - rank) * p))
        adjusted[place] = least
    return adjusted


def _resampled(cases: NDArray[np.float64], samples: int, seed: int) -> NDArray[np.float64]:
    """Means of cases drawn with replacement: (samples,)."""
    means: NDArray[np.float64] = cases[_picks(len(cases), samples, seed)].mean(axis=1)
    return means


@lru_cache(maxsize=512)  # all variants are resampled alike
def _picks(cases: int, samples: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, cases, size=(samples, cases))

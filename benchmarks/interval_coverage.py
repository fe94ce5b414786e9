"""How often the 95 % interval of a comparison holds the true mean, by the number of cases that a site has.

    python benchmarks/interval_coverage.py

Four sites, whose cases scatter by 0.1 of IoU about a mean of the site's own. With few cases a percentile bootstrap is
too narrow: it takes the scatter that it sees for the true one, which is larger.
"""

import argparse
import sys

import numpy as np

from fedsurg.metrics.statistics import over_sites

MEANS = (0.60, 0.62, 0.64, 0.66)  # of the sites
SCATTER = 0.1  # of their cases


def coverage(cases: int, repeats: int, samples: int) -> float:
    """Share of repeats in which the interval holds the mean of `MEANS`; `cases` of each site."""
    rng = np.random.default_rng(cases)
    held = 0
    for repeat in range(repeats):
        values = {f"site{number}": rng.normal(middle, SCATTER, cases) for number, middle in enumerate(MEANS)}
        found = over_sites(values, samples, "coverage", repeat)
        held += bool(found.low <= np.mean(MEANS) <= found.high)
    return held / repeats


def main() -> None:
    """Print a line per number of cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=1000, help="resamples of a bootstrap")
    options = parser.parse_args()
    for cases in (2, 3, 5, 10, 20):
        sys.stdout.write(f"{cases:3} cases a site: {100 * coverage(cases, options.repeats, options.samples):.1f} %\n")


if __name__ == "__main__":
    main()

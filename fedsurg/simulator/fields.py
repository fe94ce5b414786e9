"""Seeded random fields on a square grid: fractal noise, cells, vessel trees. All of them tile."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import fft
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree
from scipy.special import ndtr

Field = NDArray[np.float64]
Rng = np.random.Generator
SMOOTH_SLOPE = 2.2  # from here on noise has no fine detail
MOST_BRANCHINGS = 3  # of a vessel; each level has about twice as many branches


def fractal(rng: Rng, n: int, cells: float, *, slope: float = 2.0, stretch: float = 1.0) -> Field:
    """Noise (n, n), uniform in [0, 1], with features of about n / `cells` pixels.

    Larger `slope` is smoother. `stretch` > 1 draws it out along the second axis (fibres).
    """
    if slope >= SMOOTH_SLOPE and n >= 128 and cells < n / 16:  # has no detail that half the size would lose
        half = Image.fromarray(fractal(rng, n // 2, cells, slope=slope, stretch=stretch).astype(np.float32))
        enlarged: Field = np.clip(np.asarray(half.resize((n, n), Image.Resampling.BICUBIC), float), 0, 1)
        return enlarged
    fy = np.fft.fftfreq(n, 1 / n).astype(np.float32)[:, None]
    fx = (np.fft.rfftfreq(n, 1 / n) * stretch).astype(np.float32)
    waves = rng.standard_normal((n, 2 * len(fx)), dtype=np.float32).view(np.complex64)
    spectrum = waves * (fx**2 + fy**2 + np.float32(cells**2)) ** np.float32(-slope / 2)
    spectrum[0, 0] = 0
    noise = fft.irfft2(spectrum, s=(n, n))
    uniform: Field = ndtr(noise / (noise.std() + 1e-12))
    return uniform


def above(field: Field, share: float, softness: float = 0.05) -> Field:
    """Soft threshold that keeps the top `share` of a uniform field: 0 outside, 1 inside."""
    kept: Field = np.clip((field - (1 - share)) / max(softness, 1e-6), 0, 1)
    return kept


def cells(rng: Rng, n: int, count: int, *, wobble: float = 0.03) -> tuple[NDArray[np.int64], Field]:
    """Warped Voronoi cells: index of the cell (n, n) and a dome (n, n), 0 at its border and 1 well inside.

    Searched on every second pixel only: it is the slowest of the fields, and its users blur it.
    """
    if count == 1:
        return np.zeros((n, n), np.int64), np.ones((n, n))
    half = (n + 1) // 2
    seeds = rng.random((count, 2))
    axis = (np.arange(half) + 0.5) / half
    where = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    shift = [fractal(rng, half, 5, slope=3) - 0.5 for _ in range(2)]
    where = (where + 2 * wobble * np.stack(shift, -1)) % 1.0
    distance, index = cKDTree(seeds, boxsize=1.0).query(where.reshape(-1, 2), k=2)
    gap = (distance[:, 1] - distance[:, 0]) * np.sqrt(count)
    dome = np.sqrt(np.clip(gap / 0.9, 0, 1))
    return _doubled(index[:, 0].reshape(half, half), n).astype(np.int64), _doubled(dome.reshape(half, half), n)


def _doubled(field: Field, n: int) -> Field:
    return field.repeat(2, axis=0).repeat(2, axis=1)[:n, :n]


def vessels(rng: Rng, n: int, trunks: int, width: float) -> Field:
    """Branching vessels, 1 on their centre lines; `width` is the trunk's in pixels."""
    canvas = Image.new("L", (n, n), 0)
    draw = ImageDraw.Draw(canvas)
    stack = [(rng.random(2) * n, rng.uniform(0, 2 * np.pi), width, 0) for _ in range(trunks)]
    while stack:
        start, bearing, thick, depth = stack.pop()
        steps = int(rng.uniform(14, 40))
        headings = bearing + np.cumsum(rng.normal(rng.normal(0, 0.03), 0.22, steps))
        moves = np.stack([np.cos(headings), np.sin(headings)], axis=1) * n / 60
        points = start + np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
        draw.line(points.ravel().tolist(), fill=int(110 + 145 * min(1.0, thick / 2)), width=max(1, round(thick)))
        if depth == MOST_BRANCHINGS:
            continue
        for step in np.flatnonzero(rng.random(steps) < 0.08):
            turn = rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
            stack.append((points[step], headings[step] + turn, thick * 0.65, depth + 1))
    drawn: Field = gaussian_filter(np.asarray(canvas, float) / 255, 0.6)
    return drawn


def warped(field: Field, rng: Rng, amount: float, cells_across: float = 4) -> Field:
    """`field` with its coordinates displaced by smooth noise of `amount` (share of the width)."""
    n = field.shape[0]
    base = np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij")).astype(float)
    for axis in range(2):
        base[axis] += (fractal(rng, n, cells_across, slope=3) - 0.5) * 2 * amount * n
    moved: Field = map_coordinates(field, base, order=1, mode="wrap")
    return moved


def smooth(field: Field, share: float) -> Field:
    """Gaussian blur with a sigma of `share` of the width."""
    blurred: Field = gaussian_filter(field, share * field.shape[0], mode="wrap")
    return blurred


def spread_over(field: Field, size: tuple[int, int]) -> Field:
    """A small square field (n, n) enlarged until it covers a picture of `size` (h, w): its first rows and columns."""
    side = max(size)
    large = Image.fromarray(field.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    covered: Field = np.clip(np.asarray(large, float)[: size[0], : size[1]], 0, 1)
    return covered

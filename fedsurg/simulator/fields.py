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


def fractal(rng: Rng, n: int, cells: float, *, slope: float = 2.0, stretch: float = 1.0) -> Field:
    """Noise (n, n), uniform in [0, 1], with features of about n / `cells` pixels.

    Larger `slope` is smoother. `stretch` > 1 draws it out along the second axis (fibres).
    """
    fy, fx = np.meshgrid(np.fft.fftfreq(n, 1 / n), np.fft.rfftfreq(n, 1 / n) * stretch, indexing="ij")
    waves = rng.standard_normal((2, *fx.shape))
    spectrum = (waves[0] + 1j * waves[1]) * (fx**2 + fy**2 + cells**2) ** (-slope / 2)
    spectrum[0, 0] = 0
    noise = fft.irfft2(spectrum, s=(n, n))
    uniform: Field = ndtr(noise / (noise.std() + 1e-12))
    return uniform


def above(field: Field, share: float, softness: float = 0.05) -> Field:
    """Soft threshold that keeps the top `share` of a uniform field: 0 outside, 1 inside."""
    kept: Field = np.clip((field - (1 - share)) / max(softness, 1e-6), 0, 1)
    return kept


def cells(rng: Rng, n: int, count: int, *, wobble: float = 0.03) -> tuple[NDArray[np.int64], Field]:
    """Warped Voronoi cells: index of the cell (n, n) and a dome (n, n), 0 at its border and 1 well inside."""
    seeds = rng.random((count, 2))
    axis = (np.arange(n) + 0.5) / n
    where = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    shift = [fractal(rng, n, 5, slope=3) - 0.5 for _ in range(2)]
    where = (where + 2 * wobble * np.stack(shift, -1)) % 1.0
    neighbours = 2 if count > 1 else 1
    distance, index = cKDTree(seeds, boxsize=1.0).query(where.reshape(-1, 2), k=neighbours)
    if count == 1:
        return np.zeros((n, n), np.int64), np.ones((n, n))
    gap = (distance[:, 1] - distance[:, 0]) * np.sqrt(count)
    dome = np.sqrt(np.clip(gap / 0.9, 0, 1))
    return index[:, 0].reshape(n, n).astype(np.int64), dome.reshape(n, n)


def vessels(rng: Rng, n: int, trunks: int, width: float) -> Field:
    """Branching vessels, 1 on their centre lines; `width` is the trunk's in pixels."""
    canvas = Image.new("L", (n, n), 0)
    draw = ImageDraw.Draw(canvas)
    stack = [(*(rng.random(2) * n), rng.uniform(0, 2 * np.pi), width, 0) for _ in range(trunks)]
    while stack:
        x, y, heading, thick, depth = stack.pop()
        curl = rng.normal(0, 0.03)
        for _ in range(int(rng.uniform(14, 40))):
            heading += curl + rng.normal(0, 0.22)
            to_x, to_y = x + np.cos(heading) * n / 60, y + np.sin(heading) * n / 60
            draw.line([(x, y), (to_x, to_y)], fill=int(110 + 145 * min(1.0, thick / 2)), width=max(1, round(thick)))
            x, y = to_x, to_y
            thick *= 0.985
            if depth < 4 and rng.random() < 0.09:
                turn = rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
                stack.append((x, y, heading + turn, thick * 0.65, depth + 1))
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


def linear(colour: str) -> Field:
    """Linear RGB (3,) of a '#rrggbb' sRGB colour."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)

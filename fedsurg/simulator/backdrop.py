"""A photograph of tissue as a scene: a camera drifts over it, in a light of the clip's own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import affine_transform

from fedsurg.simulator.colour import linear_of
from fedsurg.simulator.fields import Field, Rng
from fedsurg.simulator.motion import Wander, draw_wander

MIDDLE_GREY = 0.18  # mean of the linear light
ZOOM = (0.55, 0.92)  # sides of the view as a share of the largest that fits the photograph
SHARPNESS = 1.25  # pixels of the shrunk photograph per pixel of the picture


@dataclass(frozen=True, eq=False)
class Backdrop:
    """A drifting view of a photograph.

    Attributes:
        light: linear light of the photograph (h, w, 3), `scale` of its pixels per pixel of the picture.
        centre: of the view, in its pixels (row, column); turn: of the view, radians.
        drift: of centre, zoom and turn; tilt: of the light across the picture, with its own slow wander.
    """

    light: Field
    scale: float
    centre: Field
    turn: float
    drift: Wander
    tilt: Field
    size: tuple[int, int]

    def at(self, time: float) -> Field:
        """Linear light (h, w, 3) at `time` seconds."""
        down, right, near, roll, *shade = self.drift.at(time)
        height, width = self.size
        scale = self.scale * np.exp(0.03 * near)
        angle = self.turn + 0.04 * roll
        turned = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        centre = self.centre + 0.03 * scale * np.array([down * height, right * width])
        corner = centre - turned @ (np.array([height - 1, width - 1]) / 2)
        view = [
            affine_transform(band, turned, corner, self.size, order=1, mode="mirror")
            for band in np.moveaxis(self.light, -1, 0)
        ]
        lit: Field = np.stack(view, axis=-1) * self._shade(self.tilt + 0.1 * np.array(shade))[..., None]
        return lit

    def _shade(self, tilt: Field) -> Field:
        """Brighter towards one side (h, w)."""
        height, width = self.size
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
        shade: Field = np.exp(tilt[0] * y + tilt[1] * x)
        return shade


def draw_backdrop(photograph: NDArray[np.uint8], size: tuple[int, int], rng: Rng) -> Backdrop:
    """A random view of a photograph (h, w, 3) at `size` (h, w): part, side, zoom, colour, light."""
    if rng.random() < 0.5:
        photograph = photograph[::-1]
    if rng.random() < 0.5:
        photograph = photograph[:, ::-1]
    rows, columns = photograph.shape[:2]
    scale = min(rows / size[0], columns / size[1]) * rng.uniform(*ZOOM)
    half = scale * np.array(size) / 2
    centre = half + rng.random(2) * (np.array([rows, columns]) - 2 * half)
    shrink = max(scale / SHARPNESS, 1.0)
    if shrink > 1.0:
        shape = (max(round(columns / shrink), 1), max(round(rows / shrink), 1))
        photograph = np.array(Image.fromarray(np.ascontiguousarray(photograph)).resize(shape, Image.Resampling.BOX))
    light = linear_of(photograph / 255) ** rng.uniform(0.85, 1.2) * np.exp(rng.normal(0, 0.06, 3))
    return Backdrop(
        light * MIDDLE_GREY / max(float(light.mean()), 1e-4),
        scale / shrink,
        centre / shrink,
        rng.normal(0, 0.08),
        draw_wander(rng, 6, fastest_hz=0.2),
        rng.normal(0, 0.2, 2),
        size,
    )

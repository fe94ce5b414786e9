"""An instrument cut out of a photograph, at work over a scene.

Where the cut-out's own picture cut it off, it stays outside of the view, so that no cut is ever seen.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter

from fedsurg.simulator.colour import Palette, linear_of, matched, palette_of
from fedsurg.simulator.fields import Field, Rng
from fedsurg.simulator.motion import Wander, draw_wander
from fedsurg.simulator.pictures import VISIBLE, OpenCutOut

MARGIN = 2.0  # pixels by which a cut stays outside


@dataclass(frozen=True, eq=False)
class Pasted:
    """A cut-out and its path through the view; places are (row, column).

    Attributes:
        light: linear light times opacity (h, w, 3), opacity (h, w) and part values (h, w) of the cut-out.
        tip: in the cut-out; goal: middle of its path in the view, `sway` around it.
        cuts: pixels of the cut-out that must stay outside (n, 2).
        way_out: unit vector from the tip towards the cut, in the cut-out; side: (axis, sign) of the view's side that
            the cut stays behind.
        turn: radians from cut-out to view; feather: sigma of its edge in pixels.
        shadow: offset and sigma in pixels and strength.
    """

    light: Field
    opacity: Field
    parts: Field
    tip: Field
    goal: Field
    sway: float
    cuts: Field
    way_out: Field
    side: tuple[int, float]
    turn: float
    path: Wander
    feather: float
    shadow: tuple[float, float, float, float]

    def over(self, scene: Field, time: float) -> tuple[Field, Field]:
        """Linear light (h, w, 3) with the instrument in front of `scene` at `time` seconds, and part values (h, w)."""
        height, width = scene.shape[:2]
        matrix, corner = self._placed((height, width), time)
        bands = [*np.moveaxis(self.light, -1, 0), self.opacity]
        placed = np.stack([affine_transform(b, matrix, corner, (height, width), order=1) for b in bands], axis=-1)
        parts = affine_transform(self.parts, matrix, corner, (height, width), order=0)
        labels = np.where(placed[..., 3] > 0.5, parts, 0)
        soft = gaussian_filter(placed, (self.feather, self.feather, 0), mode="nearest")
        down, right, spread, strength = self.shadow
        away = affine_transform(placed[..., 3], np.eye(2), (-down, -right), order=1, mode="nearest")
        dark = 1 - strength * gaussian_filter(away, spread, mode="nearest")
        return soft[..., :3] + (1 - soft[..., 3:]) * scene * dark[..., None], labels

    def _placed(self, size: tuple[int, int], time: float) -> tuple[Field, Field]:
        """The map from places in the view to places in the cut-out: matrix (2, 2) and offset (2,)."""
        down, right, roll, near = self.path.at(time)
        angle, scale = self.turn + 0.08 * roll, float(np.exp(0.04 * near))
        turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        goal = self.goal + self.sway * np.array([down, right])
        if len(self.cuts):
            goal = goal + self._push(goal + scale * (self.cuts - self.tip) @ turned.T, turned @ self.way_out, size)
        matrix = turned.T / scale
        return matrix, self.tip - matrix @ goal

    def _push(self, cuts: Field, way: Field, size: tuple[int, int]) -> Field:
        """The shortest move along `way` after which all `cuts`, places in the view, lie behind its side."""
        axis, sign = self.side
        half = (size[axis] - 1) / 2
        beyond = float((sign * (cuts[:, axis] - half) - half).min())  # past the side, in pixels
        missing: Field = way * max(0.0, MARGIN - beyond) / max(sign * float(way[axis]), 0.2)
        return missing


def _side(bearing: float, size: tuple[int, int]) -> tuple[int, float]:
    """Where a line from the middle of the view leaves it: axis, and -1 for its first side or 1 for its last."""
    way = np.array([np.sin(bearing), np.cos(bearing)])
    axis = int(np.argmax(np.abs(way) / np.array(size)))
    return axis, float(np.sign(way[axis]))


def draw_pasted(
    cutout: OpenCutOut, scene: Palette, size: tuple[int, int], bearing: float, eye: bool, rng: Rng
) -> Pasted:
    """A cut-out with colours near the scene's and a motion of its own, from the view's side at `bearing` (radians,
    0 right, pi/2 down).
    """
    flipped = rng.random() < 0.5
    inside = cutout.opacity > 0.5
    cuts = _cuts(cutout)
    points = np.argwhere(inside).astype(float)
    end = cuts.mean(axis=0) if len(cuts) else points.mean(axis=0)
    tip = points[np.argmax(np.linalg.norm(points - end, axis=1))]
    long = max(float(np.linalg.norm(tip - end)), 1.0)
    share = rng.uniform(0.45, 0.95) if len(cuts) else rng.uniform(0.08, 0.25)
    scale = share * size[1] / long
    light, opacity, parts = _resized(cutout, scale, scene, rng)
    places = [(np.atleast_2d(place) + 0.5) * scale - 0.5 for place in (tip, end, cuts.reshape(-1, 2))]
    if flipped:
        light, opacity, parts = light[:, ::-1], opacity[:, ::-1], parts[:, ::-1]
        places = [place * (1, -1) + (0, opacity.shape[1] - 1) for place in places]
    tip, end = places[0][0], places[1][0]
    out = (end - tip) / max(float(np.linalg.norm(end - tip)), 1e-6)
    spread = 0.35 if eye else 0.55
    middle = (np.array(size) - 1) / 2
    width = size[1]
    angle = float(rng.uniform(0, 2 * np.pi))
    return Pasted(
        np.ascontiguousarray(light),
        np.ascontiguousarray(opacity),
        np.ascontiguousarray(parts),
        tip,
        middle * (1 + np.clip(rng.normal(0, 0.6 * spread, 2), -spread, spread)),
        width * rng.uniform(0.02, 0.12),
        places[2],
        out,
        _side(bearing, size),
        float(np.arctan2(np.cos(bearing), np.sin(bearing)) - np.arctan2(out[1], out[0])),
        draw_wander(rng, 4, fastest_hz=0.35),
        rng.uniform(0.5, 0.9) * float(np.clip(width / 192, 0.6, 2.0)),
        (
            width * 0.03 * np.sin(angle),
            width * 0.03 * np.cos(angle),
            width * rng.uniform(0.01, 0.03),
            rng.uniform(0.15, 0.5),
        ),
    )


def _cuts(cutout: OpenCutOut) -> Field:
    """Pixels (n, 2) along the sides that cut it off."""
    edge, sides = np.zeros(cutout.opacity.shape, bool), cutout.cut_sides
    edge[:, 0], edge[:, -1] = "left" in sides, "right" in sides
    edge[0] |= "top" in sides
    edge[-1] |= "bottom" in sides
    return np.argwhere(edge & (cutout.opacity > VISIBLE)).astype(float)


def _resized(cutout: OpenCutOut, scale: float, scene: Palette, rng: Rng) -> tuple[Field, Field, Field]:
    """Light times opacity, opacity and parts at the size they are shown at, the colours moved towards the scene's."""
    linear = linear_of(cutout.colours)
    own = palette_of(linear[cutout.opacity > 0.5])
    coloured = matched(linear, own, scene, rng.uniform(0.1, 0.6)) * np.exp(rng.normal(0, 0.15))
    rows, columns = cutout.opacity.shape
    shape = (max(round(columns * scale), 2), max(round(rows * scale), 2))
    bands = [*np.moveaxis(coloured * cutout.opacity[..., None], -1, 0), cutout.opacity]
    shown = [
        np.asarray(Image.fromarray(np.asarray(band, np.float32)).resize(shape, Image.Resampling.BILINEAR), float)
        for band in bands
    ]
    parts = np.asarray(Image.fromarray(cutout.parts).resize(shape, Image.Resampling.NEAREST), float)
    return np.stack(shown[:3], axis=-1), shown[3], parts

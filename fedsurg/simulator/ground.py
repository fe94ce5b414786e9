"""The tissue that instruments meet: how far away it is in each direction, and how it yields to them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from fedsurg.simulator.materials import Body
from fedsurg.simulator.meshes import Floats, Mesh

REACH = 1.4  # of the map beyond the edge of the view
CELLS = 28


@dataclass(frozen=True, eq=False)
class Ground:
    """Depth of the nearest tissue (n, n), rows from top to bottom, over `REACH` times the view; `slope` is what a
    view coordinate of 1 means in millimetres at depth 1, across and down.
    """

    depth: Floats
    slope: tuple[float, float]

    def point(self, x: float, y: float) -> Floats:
        """The tissue (3,) seen at view coordinates in half-widths and half-heights, in millimetres."""
        last = len(self.depth) - 1
        column, row = ((float(np.clip(value, -REACH, REACH)) / REACH + 1) / 2 * last for value in (x, y))
        i, j = min(int(row), last - 1), min(int(column), last - 1)
        down, across = row - i, column - j
        near, far = self.depth[i, j : j + 2], self.depth[i + 1, j : j + 2]
        left, right = near + down * (far - near)
        depth = left + across * (right - left)
        return np.array([x * self.slope[0] * depth, y * self.slope[1] * depth, depth])


def ground_of(still: Sequence[Body], slope: tuple[float, float]) -> Ground:
    """The ground that `still` bodies form, seen from the origin along z."""
    depth = np.full((CELLS, CELLS), np.inf)
    for body in still:
        x, y, z = body.mesh.vertices[body.mesh.vertices[:, 2] > 1e-3].T
        column, row = (
            np.rint((value / (z * scale) / REACH + 1) / 2 * (CELLS - 1)).astype(int)
            for value, scale in ((x, slope[0]), (y, slope[1]))
        )
        seen = (column >= 0) & (column < CELLS) & (row >= 0) & (row < CELLS)
        np.minimum.at(depth, (row[seen], column[seen]), z[seen])
    nearest = distance_transform_edt(np.isinf(depth), return_distances=False, return_indices=True)
    return Ground(gaussian_filter(depth[tuple(nearest)], 0.7, mode="nearest"), slope)


@dataclass(frozen=True, eq=False)
class Contact:
    """A place on the tissue (3,), how far it is moved there (3,), and to what distance around; millimetres."""

    place: Floats
    push: Floats
    radius: float


def yielded(body: Body, contacts: Sequence[Contact]) -> Body:
    """The body dented or drawn out by contacts; the same object where none reaches it."""
    vertices = body.mesh.vertices
    moved = vertices
    for contact in contacts:
        away = np.square(vertices - contact.place).sum(axis=1) / contact.radius**2
        near = away < 1
        if near.any():
            moved = moved.copy() if moved is vertices else moved
            moved[near] += np.square(1 - away[near])[:, None] * contact.push
    return body if moved is vertices else replace(body, mesh=Mesh(moved, body.mesh.faces, body.mesh.uv))

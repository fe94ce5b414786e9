"""Triangle meshes with texture coordinates: grids and lofts, and what moves them.

A loft has a section that changes along a curved path, which trimesh's sweeps have not; for solids see `solids`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Vertices (v, 3) in millimetres, faces (f, 3) and texture coordinates (v, 2) in [0, 1]."""

    vertices: Floats
    faces: NDArray[np.int64]
    uv: Floats

    def moved(self, pose: Floats) -> "Mesh":
        """The mesh under the 4x4 matrix `pose`."""
        return Mesh(self.vertices @ pose[:3, :3].T + pose[:3, 3], self.faces, self.uv)


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """All meshes as one; vertices are kept apart."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])[:-1]
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
        np.concatenate([mesh.uv for mesh in meshes]),
    )


def loft(
    centres: ArrayLike,
    sizes: ArrayLike,
    *,
    sides: int = 14,
    power: float = 2.0,
    up: tuple[float, float, float] = (0.0, 1.0, 0.0),
) -> Mesh:
    """Tube through rings at `centres` (n, 3) with half-widths `sizes` (n, 2), closed at both ends.

    `power` 2 gives ellipses, larger values rounded boxes. The second half-width lies along `up` as far as the
    path allows. Texture coordinates go around and along the tube.
    """
    path, half = np.asarray(centres, float), np.asarray(sizes, float)
    rings = _rings(path, half, _unit_ring(sides, power), np.asarray(up, float))
    count = len(path)
    around = np.linspace(0, 1, sides + 1)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    along = along / max(along[-1], 1e-9)
    uv = np.stack([np.tile(around, count), np.repeat(along, sides + 1)], axis=1)
    open_tube = Mesh(rings.reshape(-1, 3), _tube_faces(count, sides), uv)
    caps = [_cap(rings[0], path[0], flip=True), _cap(rings[-1], path[-1], flip=False)]
    return joined([open_tube, *caps])


def grid(points: Floats) -> Mesh:
    """Surface through a regular grid of points (n, m, 3); v runs along the first axis."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)]).reshape(-1, 3)
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    return Mesh(points.reshape(-1, 3), faces, np.stack([u, v], -1).reshape(-1, 2))


def rotation(axis: int, angle: float) -> Floats:
    """4x4 rotation about coordinate `axis` by `angle` in radians."""
    matrix = np.eye(4)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[[i, j], [i, j]] = np.cos(angle)
    matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
    return matrix


def translation(offset: ArrayLike) -> Floats:
    """4x4 translation."""
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def frame_along(direction: ArrayLike, roll: float, *, up: ArrayLike | None = None) -> Floats:
    """4x4 rotation that takes +z to `direction`, rolled about it by `roll` radians.

    At `roll` 0, y lies towards `up`, which must not be parallel to `direction`; by default a coordinate axis.
    """
    z = np.asarray(direction, float)
    z = z / np.linalg.norm(z)
    if up is None:
        up = (0.0, 1.0, 0.0) if abs(z[1]) < 0.9 else (1.0, 0.0, 0.0)
    x = np.cross(np.asarray(up, float), z)
    x /= np.linalg.norm(x)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    turned: Floats = matrix @ rotation(2, roll)
    return turned


def _unit_ring(sides: int, power: float) -> Floats:
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    cos, sin = np.cos(angle), np.sin(angle)
    radius = (np.abs(cos) ** power + np.abs(sin) ** power) ** (-1 / power)
    return np.stack([cos * radius, sin * radius], axis=1)


def _rings(path: Floats, half: Floats, ring: Floats, up: Floats) -> Floats:
    tangent = _tangents(path)
    side = np.cross(up, tangent)
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-12
    upward = np.cross(tangent, side)
    flat = ring[None] * half[:, None]
    points: Floats = path[:, None] + flat[..., :1] * side[:, None] + flat[..., 1:] * upward[:, None]
    return points


def _tangents(path: Floats) -> Floats:
    """Unit tangents."""
    tangent = np.empty_like(path)
    tangent[1:-1] = path[2:] - path[:-2]
    tangent[0], tangent[-1] = path[1] - path[0], path[-1] - path[-2]
    unit: Floats = tangent / (np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-12)
    return unit


def _tube_faces(rings: int, sides: int) -> NDArray[np.int64]:
    a = (np.arange(rings - 1)[:, None] * (sides + 1) + np.arange(sides)).ravel()
    b = a + sides + 1
    return np.concatenate([np.stack([a, a + 1, b], 1), np.stack([b, a + 1, b + 1], 1)]).astype(np.int64)


def _cap(ring: Floats, centre: Floats, *, flip: bool) -> Mesh:
    sides = len(ring) - 1
    first = np.arange(sides)
    order = (first + 1, first) if flip else (first, first + 1)
    faces = np.stack([*order, np.full(sides, sides + 1)], axis=1)
    uv = np.zeros((sides + 2, 2)) if flip else np.ones((sides + 2, 2))
    return Mesh(np.concatenate([ring, centre[None]]), faces, uv)

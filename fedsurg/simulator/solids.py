"""Solids that trimesh makes: turned bodies, blocks and discs, smooth where they are round and creased at edges."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations, product

import numpy as np
import trimesh
from numpy.typing import ArrayLike

from fedsurg.simulator.meshes import Mesh

PRINT_LENGTH = 110.0  # millimetres along an instrument after which its texture repeats
CREASE = np.deg2rad(35)  # faces that meet at more than this share no shading normal
BEVEL = 0.15  # of a block's half-width


def turned(outline: Sequence[tuple[float, float]], *, sides: int = 20) -> Mesh:
    """Body of revolution about z from (z, radius) pairs in ascending z, closed at both ends."""
    line = [(0.0, outline[0][0]), *((radius, z) for z, radius in outline), (0.0, outline[-1][0])]
    return _unwrapped(_creased(trimesh.creation.revolve(line, sections=sides)))


def block(centre: ArrayLike, half: tuple[float, float, float]) -> Mesh:
    """Box with bevelled edges, along the axes, with half-widths `half`."""
    return _placed(_unit_block(), centre, half)


def disc(centre: ArrayLike, axis: int, radius: float, thickness: float) -> Mesh:
    """Flat cylinder about coordinate `axis` (0, 1 or 2)."""
    half = [radius] * 3
    half[axis] = thickness / 2
    return _placed(_unit_disc(axis), centre, half)


@lru_cache(maxsize=1)
def _unit_block() -> trimesh.Trimesh:
    corners = sorted(set(permutations((1.0, 1 - BEVEL, 1 - BEVEL))))
    signs = product((-1, 1), repeat=3)
    return _creased(
        trimesh.convex.convex_hull(np.array([np.multiply(sign, corner) for sign in signs for corner in corners]))
    )


@lru_cache(maxsize=3)
def _unit_disc(axis: int) -> trimesh.Trimesh:
    solid = trimesh.creation.cylinder(1.0, 2.0, sections=18)
    order = {0: (2, 0, 1), 1: (1, 2, 0), 2: (0, 1, 2)}[axis]
    return _creased(trimesh.Trimesh(solid.vertices[:, order], solid.faces, process=False))


def _creased(solid: trimesh.Trimesh) -> trimesh.Trimesh:
    """The solid with its vertices split at sharp edges, so that shading does not blur them."""
    split: trimesh.Trimesh = trimesh.graph.smooth_shade(solid, angle=CREASE)
    return split


def _placed(unit: trimesh.Trimesh, centre: ArrayLike, half: Sequence[float]) -> Mesh:
    vertices = unit.vertices * np.asarray(half) + np.asarray(centre, float)
    return Mesh(vertices, np.asarray(unit.faces), vertices[:, (0, 2)] / PRINT_LENGTH)


def _unwrapped(solid: trimesh.Trimesh) -> Mesh:
    """Texture coordinates around and along z; the seam's vertices are doubled."""
    vertices, faces = np.asarray(solid.vertices), np.array(solid.faces)
    around = np.arctan2(vertices[:, 1], vertices[:, 0]) / (2 * np.pi) % 1.0
    across = np.ptp(around[faces], axis=1) > 0.5
    early = np.unique(faces[across][around[faces[across]] < 0.5])
    copies = np.arange(len(vertices))
    copies[early] = len(vertices) + np.arange(len(early))
    faces[across] = copies[faces[across]]
    points = np.concatenate([vertices, vertices[early]])
    u = np.concatenate([around, around[early] + 1])
    return Mesh(points, faces, np.stack([u, points[:, 2] / PRINT_LENGTH], axis=1))

"""What lies at each pixel's centre: one ray each, all of a frame's cast at once with Embree.

The renderer has an integrator for this, which takes longer than tracing the light. The name is that of deferred
shading, for pictures that hold geometry (Saito and Takahashi 1990, doi 10.1145/97879.97901).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsurg.errors import SimulatorError
from fedsurg.simulator.fields import Field
from fedsurg.simulator.materials import Material
from fedsurg.simulator.meshes import Floats, Mesh, joined


@dataclass(frozen=True, eq=False)
class Surface:
    """A mesh, the normals of its vertices (v, 3), and what it is made of."""

    mesh: Mesh
    normals: NDArray[np.float32]
    material: Material


@dataclass(frozen=True, eq=False)
class GBuffer:
    """Geometry by pixel.

    Attributes:
        number: which surface (h, w), from 1; 0: none.
        reflectance: its colour there, linear (h, w, 3).
        normal: interpolated between its vertices (h, w, 3), without relief of the texture.
        depth: along the optical axis, millimetres (h, w); 0: nothing is there.
    """

    number: NDArray[np.int64]
    reflectance: Field
    normal: Field
    depth: Field


class Group:
    """Surfaces that rays can be cast at; what casting needs is prepared once, and can be used in many frames."""

    def __init__(self, surfaces: list[Surface]) -> None:
        self.surfaces = surfaces
        self.starts = np.cumsum([0, *(len(surface.mesh.faces) for surface in surfaces)])

    @cached_property
    def scene(self) -> Any:
        """Embree's form of all faces.

        Raises:
            SimulatorError: Embree is missing.
        """
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as problem:
            raise SimulatorError(f"embreex cannot be used ({problem}); install it: pip install embreex") from problem
        scene, whole = EmbreeScene(), joined([surface.mesh for surface in self.surfaces])
        TriangleMesh(scene, whole.vertices.astype(np.float32), whole.faces.astype(np.int32))
        return scene


def gbuffer(groups: Sequence[Group], camera: Floats, view_deg: float, height: int, width: int) -> GBuffer:
    """Cast a ray through the centre of each pixel of a camera at the 4x4 pose `camera`, `view_deg` wide.

    Surfaces are numbered through all groups, in their order.

    Raises:
        SimulatorError: Embree is missing.
    """
    rays = _rays(view_deg, height, width) @ camera[:3, :3].T
    distance, number = np.full(len(rays), np.inf), np.zeros(len(rays), np.int64)
    reflectance, normal = np.zeros((2, len(rays), 3))
    before = 0
    for group in groups:
        if group.surfaces:
            hits = _first_hits(group, camera[:3, 3], rays, distance)
            number[hits.pixel] = before + 1 + hits.surface
            distance[hits.pixel] = hits.distance
            reflectance[hits.pixel], normal[hits.pixel] = _shaded(group, hits)
        before += len(group.surfaces)
    depth = np.where(number > 0, distance, 0.0) * (rays @ camera[:3, 2])
    shape = (height, width)
    colours, normals = reflectance.reshape(*shape, 3), normal.reshape(*shape, 3)
    return GBuffer(number.reshape(shape), colours, normals, depth.reshape(shape))


@dataclass(frozen=True, eq=False)
class _Hits:
    """Pixels (n) whose ray met a group nearer than anything before: the surface's index, the face's index in it, the
    shares of the face's corners (n, 3), how far away it is.
    """

    pixel: NDArray[np.int64]
    surface: NDArray[np.int64]
    face: NDArray[np.int64]
    shares: Field
    distance: Field


@lru_cache(maxsize=1)
def _rays(view_deg: float, height: int, width: int) -> Field:
    """Unit directions (h * w, 3) as the camera has them: x points right in the picture, y down."""
    reach = np.tan(np.radians(view_deg) / 2)
    x = ((np.arange(width) + 0.5) * 2 - width) / width * reach
    y = ((np.arange(height) + 0.5) * 2 - height) / width * reach
    ahead = np.stack([*np.meshgrid(x, y), np.ones((height, width))], axis=-1).reshape(-1, 3)
    rays: Field = ahead / np.linalg.norm(ahead, axis=1, keepdims=True)
    return rays


def _first_hits(group: Group, origin: Floats, rays: Field, nearest: Field) -> _Hits:
    origins = np.ascontiguousarray(np.broadcast_to(origin.astype(np.float32), rays.shape))
    found = group.scene.run(origins, rays.astype(np.float32), output=True)
    distance = np.where(found["primID"] >= 0, found["tfar"].astype(float), np.inf)
    pixel = np.flatnonzero(distance < nearest)
    face = found["primID"][pixel].astype(np.int64)
    v, w = found["u"][pixel].astype(float), found["v"][pixel].astype(float)
    surface = np.searchsorted(group.starts, face, side="right") - 1
    return _Hits(pixel, surface, face - group.starts[surface], np.stack([1 - v - w, v, w], axis=1), distance[pixel])


def _shaded(group: Group, hits: _Hits) -> tuple[Field, Field]:
    """Reflectance and unit normal (n, 3) of what was met."""
    reflectance, normal = np.zeros((2, len(hits.pixel), 3))
    for index, surface in enumerate(group.surfaces):
        here = np.flatnonzero(hits.surface == index)
        if not len(here):
            continue
        corners, shares = surface.mesh.faces[hits.face[here]], hits.shares[here]
        normal[here] = _between(surface.normals[corners], shares)
        reflectance[here] = _colour(surface, corners, shares)
    return reflectance, normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def _colour(surface: Surface, corners: NDArray[np.int64], shares: Field) -> Field:
    """Reflectance (n, 3); a picture is repeated beyond its sides, and blended between its pixels."""
    picture = surface.material.colour_map
    if picture is None:
        return np.broadcast_to(np.array(surface.material.colour), (len(corners), 3))
    rows, columns = picture.shape[:2]
    u, v = _between(surface.mesh.uv[corners], shares).T
    x, y = u * columns - 0.5, v * rows - 0.5
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right_share, lower_share = (x - left)[:, None], (y - top)[:, None]
    left, right = left % columns, (left + 1) % columns
    upper, lower = top % rows * columns, (top + 1) % rows * columns
    pixels = picture.reshape(-1, 3)  # one index finds a pixel twice as fast as two
    above = (1 - right_share) * pixels[upper + left] + right_share * pixels[upper + right]
    below = (1 - right_share) * pixels[lower + left] + right_share * pixels[lower + right]
    blended: Field = (1 - lower_share) * above + lower_share * below
    return blended


def _between(values: NDArray[Any], shares: Field) -> Field:
    """Of values at three corners (n, 3, c), those in between (n, c)."""
    first, second, third = (shares[:, corner, None] * values[:, corner] for corner in range(3))
    blended: Field = first + second + third
    return blended

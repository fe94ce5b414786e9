"""Solids by hand-computed numbers."""

import numpy as np
import pytest

from fedsurg.simulator.meshes import Mesh
from fedsurg.simulator.solids import PRINT_LENGTH, block, disc, turned


def area(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_a_turned_cylinder_has_the_area_of_a_cylinder() -> None:
    mesh = turned([(0.0, 2.0), (5.0, 2.0)], sides=200)
    assert np.isclose(area(mesh), 2 * np.pi * 2 * 5 + 2 * np.pi * 4, rtol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_disc_is_flat_along_its_axis(axis: int) -> None:
    mesh = disc((1, 2, 3), axis, 2.0, 0.5)
    size = [4.0, 4.0, 4.0]
    size[axis] = 0.5
    assert np.allclose(np.ptp(mesh.vertices, axis=0), size, atol=0.1)
    assert np.allclose((mesh.vertices.max(0) + mesh.vertices.min(0)) / 2, (1, 2, 3), atol=0.1)


def test_a_block_has_its_half_widths_and_loses_little_to_its_bevels() -> None:
    mesh = block((0, 0, 0), (1.0, 2.0, 3.0))
    assert np.allclose(np.ptp(mesh.vertices, axis=0), (2, 4, 6))
    assert 0.85 * 88 < area(mesh) < 88


def test_rims_share_no_vertices_with_the_side_and_the_side_is_smooth() -> None:
    mesh = turned([(0.0, 1.0), (4.0, 1.0)], sides=12)
    on_side = np.unique(mesh.faces[np.ptp(mesh.vertices[mesh.faces][..., 2], axis=1) > 0])
    on_caps = np.unique(mesh.faces[np.ptp(mesh.vertices[mesh.faces][..., 2], axis=1) == 0])
    assert not set(on_side) & set(on_caps)
    assert len(on_side) == 2 * (12 + 1)  # one doubled vertex in each ring, for the seam of the texture


def test_texture_runs_once_around_and_repeats_along() -> None:
    mesh = turned([(0.0, 1.0), (2 * PRINT_LENGTH, 1.0)], sides=12)
    side = np.ptp(mesh.vertices[mesh.faces][..., 2], axis=1) > 0
    assert np.ptp(mesh.uv[mesh.faces[side], 0], axis=1).max() < 0.1
    assert np.isclose(np.ptp(mesh.uv[:, 1]), 2)

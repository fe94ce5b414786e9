"""Geometry by hand-computed numbers."""

import numpy as np

from fedsurg.simulator.meshes import bar, frame_along, joined, lathe, loft, rotation, translation


def area(mesh) -> float:  # type: ignore[no-untyped-def]
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_cylinder_has_the_area_of_a_cylinder() -> None:
    mesh = lathe([(0.0, 2.0), (5.0, 2.0)], sides=200)
    assert np.isclose(area(mesh), 2 * np.pi * 2 * 5 + 2 * np.pi * 4, rtol=1e-3)


def test_box_has_its_half_widths() -> None:
    mesh = bar((0, 0, 0), (0, 0, 4), (1.0, 2.0))
    assert np.allclose(mesh.vertices.max(0) - mesh.vertices.min(0), (2, 4, 4), atol=1e-6)


def test_normals_of_a_tube_point_outwards() -> None:
    mesh = loft([(0, 0, 0), (0, 0, 3)], [(1, 1), (1, 1)], sides=16)
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    outward = (a + b + c) / 3 - (0, 0, 1.5)
    assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), outward) > 0).all()


def test_repeated_ring_shares_no_vertices_between_its_sides() -> None:
    smooth = lathe([(0, 1), (1, 1), (2, 0.5)], sides=8)
    sharp = lathe([(0, 1), (1, 1), (1, 1), (2, 0.5)], sides=8)
    assert len(sharp.faces) == len(smooth.faces)
    assert len(sharp.vertices) == len(smooth.vertices) + 9


def test_frame_along_takes_z_to_the_direction() -> None:
    for direction in ((0, 0, 1), (0, 1, 0), (1, -2, 3)):
        frame = frame_along(direction, 0.7)[:3, :3]
        assert np.allclose(frame[:, 2], np.array(direction) / np.linalg.norm(direction))
        assert np.allclose(frame @ frame.T, np.eye(3))
        assert np.isclose(np.linalg.det(frame), 1)


def test_moves_compose_and_joining_keeps_the_area() -> None:
    mesh = lathe([(0, 1), (1, 1)])
    moved = mesh.moved(translation((1, 2, 3)) @ rotation(2, np.pi / 2))
    assert np.allclose(moved.vertices.mean(0), mesh.vertices.mean(0) @ rotation(2, np.pi / 2)[:3, :3].T + (1, 2, 3))
    assert np.isclose(area(joined([mesh, moved])), 2 * area(mesh))

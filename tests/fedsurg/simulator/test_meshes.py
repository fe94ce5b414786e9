"""Geometry by hand-computed numbers."""

import numpy as np

from fedsurg.simulator.meshes import frame_along, grid, joined, loft, rotation, translation


def area(mesh) -> float:  # type: ignore[no-untyped-def]
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_normals_of_a_tube_point_outwards() -> None:
    mesh = loft([(0, 0, 0), (0, 0, 3)], [(1, 1), (1, 1)], sides=16)
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    outward = (a + b + c) / 3 - (0, 0, 1.5)
    assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), outward) > 0).all()


def test_frame_along_takes_z_to_the_direction() -> None:
    for direction in ((0, 0, 1), (0, 1, 0), (1, -2, 3)):
        frame = frame_along(direction, 0.7)[:3, :3]
        assert np.allclose(frame[:, 2], np.array(direction) / np.linalg.norm(direction))
        assert np.allclose(frame @ frame.T, np.eye(3))
        assert np.isclose(np.linalg.det(frame), 1)


def test_frame_along_holds_y_towards_what_is_up() -> None:
    frame = frame_along((1, 0, 0), 0.0, up=(0, 0, 1))[:3, :3]
    assert np.allclose(frame[:, 1], (0, 0, 1))


def test_a_grid_covers_its_area() -> None:
    y, x = np.meshgrid([0.0, 1.0, 3.0], [0.0, 2.0], indexing="ij")
    assert np.isclose(area(grid(np.stack([x, y, 0 * x], -1))), 6)


def test_moves_compose_and_joining_keeps_the_area() -> None:
    mesh = loft([(0, 0, 0), (0, 0, 1)], [(1, 2), (1, 2)])
    moved = mesh.moved(translation((1, 2, 3)) @ rotation(2, np.pi / 2))
    assert np.allclose(moved.vertices.mean(0), mesh.vertices.mean(0) @ rotation(2, np.pi / 2)[:3, :3].T + (1, 2, 3))
    assert np.isclose(area(joined([mesh, moved])), 2 * area(mesh))

"""The tissue that instruments meet, by hand-computed numbers."""

import numpy as np
import pytest

from fedsurg.simulator.ground import Contact, ground_of, yielded
from fedsurg.simulator.materials import Body, Material
from fedsurg.simulator.meshes import grid

RED = Material("plastic", (0.5, 0.1, 0.1), 0.3)


def plane(depth: float, half: float, rows: int = 61, slope: float = 0.0) -> Body:
    axis = np.linspace(-half, half, rows)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return Body(grid(np.stack([x, y, depth + slope * x], -1)), RED, 0)


def test_the_ground_is_the_nearest_tissue_in_each_direction() -> None:
    ground = ground_of([plane(100.0, 120.0), plane(60.0, 8.0)], (0.6, 0.6))
    assert ground.point(0.0, 0.0)[2] == pytest.approx(60, abs=1)
    assert np.allclose(ground.point(0.8, -0.8), (48, -48, 100), atol=0.5)


def test_a_slope_is_followed() -> None:
    ground = ground_of([plane(100.0, 120.0, slope=0.5)], (0.6, 0.6))
    x, _, z = ground.point(0.4, 0.0)
    assert z == pytest.approx(100 + 0.5 * x, rel=0.04)


def test_few_vertices_leave_no_holes() -> None:
    ground = ground_of([plane(100.0, 120.0, rows=8)], (0.6, 0.6))
    assert np.allclose(ground.depth, 100)


def test_tissue_yields_near_a_contact_and_nowhere_else() -> None:
    body = plane(80.0, 40.0, rows=41)
    dented = yielded(body, [Contact(np.array([0.0, 0.0, 80.0]), np.array([0.0, 0.0, 3.0]), 10.0)])
    moved = dented.mesh.vertices - body.mesh.vertices
    away = np.hypot(body.mesh.vertices[:, 0], body.mesh.vertices[:, 1])
    assert moved[away < 1e-9] == pytest.approx(np.array([[0, 0, 3]]))
    assert not moved[away >= 10].any()
    assert np.allclose(moved[np.isclose(away, 6)][:, 2], 3 * 0.64**2)
    assert dented.material is body.material


def test_an_untouched_body_stays_the_same_object() -> None:
    body = plane(80.0, 40.0)
    assert yielded(body, []) is body
    assert yielded(body, [Contact(np.array([200.0, 0.0, 80.0]), np.ones(3), 10.0)]) is body

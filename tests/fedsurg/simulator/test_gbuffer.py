"""What lies at each pixel's centre: numbers, colours, normals and depth of walls whose place is known."""

import numpy as np
import pytest

from fedsurg.simulator.clip import ClipSeeds, draw_clip
from fedsurg.simulator.gbuffer import GBuffer, Group, Surface, gbuffer
from fedsurg.simulator.materials import Material
from fedsurg.simulator.meshes import Mesh, grid, translation
from fedsurg.simulator.profiles import PROFILES

GREEN, RED = Material("plastic", (0.1, 0.5, 0.1), 0.3), Material("plastic", (0.5, 0.1, 0.1), 0.3)
FIELD_DEG = 2 * np.degrees(np.arctan(0.5))  # as wide as the wall of `wall(1.0)` is


def wall(distance: float, right_of: float = -0.5) -> Mesh:
    """Upright, 1 high, from `right_of` to 0.5, `distance` ahead; u grows to the right, v downwards."""
    return grid(np.stack([*np.meshgrid((right_of, 0.5), (-0.5, 0.5)), np.full((2, 2), distance)], -1))


def surface(mesh: Mesh, material: Material) -> Surface:
    return Surface(mesh, np.tile(np.array([0, 0, -1], np.float32), (len(mesh.vertices), 1)), material)


def seen(*groups: list[Surface], size: tuple[int, int] = (6, 8)) -> GBuffer:
    return gbuffer([Group(group) for group in groups], np.eye(4), FIELD_DEG, *size)


def test_the_nearest_surface_of_all_groups_is_met_and_numbered_through_them() -> None:
    far, near, half = surface(wall(2.0), GREEN), surface(wall(1.0), RED), surface(wall(0.9, 0.0), GREEN)
    for groups in ([[far], [near, half]], [[far, near], [half]], [[far, near, half], []]):
        found = seen(*groups)
        assert (found.number[:, :4] == 2).all() and (found.number[:, 4:] == 3).all()
        assert np.allclose(found.reflectance[:, :4], RED.colour) and np.allclose(found.reflectance[:, 4:], GREEN.colour)
        assert np.allclose(found.depth[:, :4], 1.0) and np.allclose(found.depth[:, 4:], 0.9)
        assert np.allclose(found.normal, [0, 0, -1])


def test_where_nothing_is_there_is_no_number_no_colour_and_no_depth() -> None:
    found = seen([surface(wall(1.0, 0.0), RED)])
    assert not found.number[:, :4].any() and not found.reflectance[:, :4].any() and not found.depth[:, :4].any()
    assert (found.number[:, 4:] == 1).all()


def test_a_picture_on_a_wall_is_seen_pixel_by_pixel() -> None:
    picture = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    painted = Material("plastic", (0.0, 0.0, 0.0), 0.3, colour_map=picture)
    assert np.allclose(seen([surface(wall(1.0), painted)], size=(8, 8)).reflectance, picture, atol=1e-4)


def test_normals_are_blended_between_vertices() -> None:
    mesh = wall(1.0)
    normals = np.array([[1, 0, -1], [-1, 0, -1], [1, 0, -1], [-1, 0, -1]], np.float32)
    normal = seen([Surface(mesh, normals, RED)], size=(2, 2)).normal
    assert np.allclose(np.linalg.norm(normal, axis=2), 1)
    assert normal[0, 0, 0] == pytest.approx(-normal[0, 1, 0]) and normal[0, 0, 0] > 0.3


def test_it_agrees_with_the_renderer_on_a_whole_scene() -> None:
    clip = draw_clip(PROFILES["kidney_bed"], ClipSeeds(3, 3, 3), 48, 64, 1.0)
    painter = clip.painter()
    bodies, pose = [*clip.still, *clip.bodies(0.0)], translation((1.0, 2.0, -3.0))
    drawn = [painter._drawn(body) for body in bodies]
    world = {
        "type": "scene",
        "view": painter._sensor(pose),
        **{f"s{index:03d}": one.shape for index, one in enumerate(drawn)},
    }
    scene = painter.mi.load_dict(world, parallel=False, optimize=False)
    recipe = {"type": "aov", "aovs": "number:shape_index,colour:albedo,point:position,normal:sh_normal"}
    values = np.array(painter.mi.render(scene, integrator=painter.mi.load_dict(recipe), seed=0, spp=1), dtype=float)
    found = gbuffer([Group([one.surface for one in drawn])], pose, clip.look.view_deg, 48, 64)
    same = np.round(values[..., 0]) == found.number
    assert same.mean() > 0.999 and len(np.unique(found.number)) > 3
    assert np.abs(values[..., 1:4] - found.reflectance)[same].max() < 0.01
    smooth = np.array([False, *(body.material.bump_map is None for body in bodies)])[
        found.number
    ]  # relief bends theirs
    assert smooth.mean() > 0.01 and np.abs(values[..., 7:10] - found.normal)[same & smooth].max() < 0.01
    depth = np.where(found.number > 0, (values[..., 4:7] - pose[:3, 3])[..., 2], 0.0)
    assert np.abs(depth - found.depth)[same].max() < 0.01

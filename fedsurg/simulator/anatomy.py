"""The still part of a scene: the bed, free-standing organs, and clutter that is no instrument."""

import numpy as np

from fedsurg.simulator.eye import make_eye
from fedsurg.simulator.fields import Rng, fractal
from fedsurg.simulator.materials import Body, Material
from fedsurg.simulator.meshes import Floats, Mesh, frame_along, grid, loft, rotation, translation
from fedsurg.simulator.motion import View
from fedsurg.simulator.profiles import BLUISH, FASCIA, GREY, AnatomyProfile
from fedsurg.simulator.tissue import Surface, draw_tissue, finish, make_bed, paint

MESH_STEP = 5  # texels per mesh edge: finer relief is shading only


def draw_anatomy(profile: AnatomyProfile, view: View, distance: float, n: int, rng: Rng) -> list[Body]:
    """Everything in view that is background, around the point `distance` ahead of the camera.

    `n` is the number of texels along the bed.
    """
    tilt = np.deg2rad(profile.tilt_deg)
    pose = translation((0.0, 0.0, distance)) @ rotation(2, rng.uniform(0, 2 * np.pi) * (not profile.eye))
    pose = pose @ rotation(0, rng.uniform(-tilt, tilt)) @ rotation(1, 0.5 * rng.uniform(-tilt, tilt))
    extent = 2.0 * view.corner * distance * (1.15 if profile.eye else 1.35)
    surface = (make_eye if profile.eye else make_bed)(profile, rng, n, extent)
    bodies = [Body(_bed_mesh(surface).moved(pose), _coat(surface), 0)]
    for _ in range(int(rng.integers(profile.organs[0], profile.organs[1] + 1))):
        bodies.append(_organ(profile, view, distance, n // 2, rng))
    if rng.random() < profile.strands:
        bodies += [_strand(profile, view, distance, n // 3, rng) for _ in range(int(rng.integers(1, 4)))]
    if rng.random() < profile.clutter:
        bodies += _wires(view, distance, rng) if profile.eye else _clips(view, distance, rng)
    return bodies


def _bed_mesh(surface: Surface) -> Mesh:
    """The relief as a mesh, z away from the camera."""
    n = surface.height.shape[0]
    rows = np.unique(np.append(np.arange(0, n, MESH_STEP), n - 1))
    axis = (rows / (n - 1) - 0.5) * surface.extent
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return grid(np.stack([x, y, -surface.height[np.ix_(rows, rows)]], axis=-1))


def _coat(surface: Surface) -> Material:
    return Material(
        "plastic",
        (0.5, 0.3, 0.3),
        surface.roughness,
        colour_map=surface.colour.astype(np.float32),
        bump_map=surface.bump.astype(np.float32),
    )


def _organ(profile: AnatomyProfile, view: View, distance: float, n: int, rng: Rng) -> Body:
    """A displaced ellipsoid or a stretch of bowel, with a tissue of its own."""
    long = view.half_width * distance * rng.uniform(0.25, 0.8)
    wide, high = long * rng.uniform(0.3, 0.8), long * rng.uniform(0.3, 0.7)
    colour, relief = paint(draw_tissue(profile, rng), rng, n)
    surface = finish(relief, colour, profile, rng, 3 * long)
    turn = np.linspace(0.02, np.pi - 0.02, 40)
    bow = rng.uniform(-0.5, 0.5) * long
    centres = np.stack([bow * np.sin(turn), np.zeros(40), -long * np.cos(turn)], axis=1)
    profile_width = np.sin(turn) ** rng.uniform(0.3, 1.0)
    bumps = 1 + 0.25 * (fractal(rng, 40, 4, slope=2.5)[:, 0] - 0.5)
    mesh = loft(centres, np.stack([wide * profile_width * bumps, high * profile_width * bumps], 1), sides=48)
    mesh = _displaced(mesh, relief * 0.6 * long / 45)
    spot = rng.uniform(-0.9, 0.9, 2) * (view.half_width, view.half_height) * distance
    sunk = high * rng.uniform(-0.1, 0.7)
    lying = frame_along((rng.normal(), rng.normal(), 0.2 * rng.normal()), rng.uniform(0, 6.3))
    return Body(mesh.moved(translation((*spot, distance + sunk)) @ lying), _coat(surface), 0)


def _strand(profile: AnatomyProfile, view: View, distance: float, n: int, rng: Rng) -> Body:
    """A ligament, duct or vessel along the bed: slim and straight enough to be taken for a shaft."""
    long = view.half_width * distance * rng.uniform(0.4, 1.5)
    half = distance * np.exp(rng.uniform(np.log(0.012), np.log(0.07)))
    tissue = (FASCIA, GREY, BLUISH)[int(rng.integers(3))] if rng.random() < 0.6 else draw_tissue(profile, rng)
    colour, relief = paint(tissue, rng, n)
    surface = finish(relief, colour, profile, rng, long)
    along = np.linspace(-1, 1, 40)
    bend = rng.uniform(0.0, 0.3) * long * np.sin(rng.uniform(1, 5) * along + rng.uniform(0, 6))
    dip = rng.uniform(0.0, 2.0) * half * np.sin(rng.uniform(1, 4) * along + rng.uniform(0, 6))
    thick = half * (0.6 + rng.uniform(0.1, 1.0) * fractal(rng, 40, 5, slope=2.5)[:, 0])
    flat = rng.uniform(0.4, 1.0)
    mesh = loft(np.stack([long * along, bend, dip], 1), np.stack([thick, flat * thick], 1), up=(0.0, 0.0, 1.0))
    spot = rng.uniform(-0.8, 0.8, 2) * (view.half_width, view.half_height) * distance
    place = translation((*spot, distance * rng.uniform(0.88, 1.0))) @ rotation(2, rng.uniform(0, 2 * np.pi))
    return Body(mesh.moved(place), _coat(surface), 0)


def _displaced(mesh: Mesh, relief: Floats) -> Mesh:
    """Pushes vertices outwards (from the long axis) by the relief at their texture coordinates."""
    n = relief.shape[0]
    texel = np.clip((mesh.uv * (n - 1)).astype(int), 0, n - 1)
    out = mesh.vertices * (1.0, 1.0, 0.0)
    length = np.linalg.norm(out, axis=1, keepdims=True) + 1e-6
    push = relief[texel[:, 1], texel[:, 0]] - relief.mean()
    return Mesh(mesh.vertices + out / length * np.minimum(push[:, None], length), mesh.faces, mesh.uv)


def _clips(view: View, distance: float, rng: Rng) -> list[Body]:
    """Surgical clips and thread lying about; masks must not contain them."""
    bodies = []
    for _ in range(int(rng.integers(1, 6))):
        size = distance * rng.uniform(0.01, 0.05)
        white = rng.uniform(0.5, 0.85)
        colour = (white, white, white * 0.95) if rng.random() < 0.7 else tuple(rng.uniform(0.02, 0.6, 3).tolist())
        material = Material("plastic", colour, 0.25)
        thread = rng.random() < 0.4
        steps = np.linspace(0, 1, 12)[:, None]
        bend = rng.normal(0, size * (5 if thread else 1.2), (4, 3)) * (1, 1, 0.3)
        path = sum(bend[k] * np.sin((k + 1) * np.pi * steps * 0.8) for k in range(4))
        half = size * (0.05 if thread else rng.uniform(0.25, 0.5))
        spot = rng.uniform(-0.8, 0.8, 2) * (view.half_width, view.half_height) * distance
        mesh = loft(path, [(half, half)] * 12, up=(0.3, 0.2, 1.0), sides=8, power=4)
        bodies.append(Body(mesh.moved(translation((*spot, distance * rng.uniform(0.9, 0.99)))), material, 0))
    return bodies


def _wires(view: View, distance: float, rng: Rng) -> list[Body]:
    """The speculum that holds the lids: bright wire at the edge of the picture, not an instrument here."""
    steel = Material("metal", (0.7, 0.7, 0.7), 0.2)
    bodies = []
    for side in (-1, 1):
        if rng.random() < 0.25:
            continue
        out = view.half_height * distance * rng.uniform(0.6, 1.0)
        wide = view.half_width * distance * rng.uniform(0.15, 0.4)
        path = [
            (-wide, 1.4 * out),
            (-wide, out),
            (-0.8 * wide, 0.93 * out),
            (0.8 * wide, 0.93 * out),
            (wide, out),
            (wide, 1.4 * out),
        ]
        points = [(x + 0.0, side * y, distance - 13.0 + rng.uniform(-1, 1)) for x, y in path]
        half = rng.uniform(0.2, 0.45)
        bodies.append(Body(loft(points, [(half, half)] * 6, up=(0, 0, 1), sides=8), steel, 0))
    return bodies

"""Renders bodies with Mitsuba's scalar variant: linear light and an exact label for every pixel."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, rank_filter

from fedsurg.errors import SimulatorError
from fedsurg.simulator.fields import Field
from fedsurg.simulator.gbuffer import GBuffer, Group, Surface, gbuffer
from fedsurg.simulator.ingredients import Ingredient
from fedsurg.simulator.looks import Look
from fedsurg.simulator.materials import Body, Material
from fedsurg.simulator.meshes import Floats, Mesh

VARIANT = "scalar_rgb"  # the LLVM variants abort on some processors
BOUNCES = 3  # eye to surface, to a second surface (metal mirrors tissue), to the light
LENS_PX = 0.65  # sigma of what any lens spreads; it smooths the edges, which one ray a pixel leaves jagged

GREY = Material("plastic", (0.25, 0.25, 0.25), 0.3)


def renderer() -> Any:
    """The `mitsuba` module, quiet, single-threaded (clips are rendered in parallel) and set to `VARIANT`.

    Embree, see `gbuffer`, prepares a scene with a thread for each processor; that takes a few milliseconds of a frame.

    Raises:
        SimulatorError: Mitsuba is missing or does not run here.
    """
    try:
        import drjit
        import mitsuba

        mitsuba.set_variant(VARIANT)
    except (ImportError, AttributeError) as problem:
        raise SimulatorError(f"mitsuba cannot be used ({problem}); install it: pip install mitsuba") from problem
    mitsuba.set_log_level(mitsuba.LogLevel.Error)
    drjit.set_thread_count(1)
    return mitsuba


@dataclass(frozen=True, eq=False)
class Shot:
    """What lies in view in one frame, before the camera makes a picture of it.

    Attributes:
        light: linear (h, w, 3).
        parts: mask values (h, w).
        instances: which instrument (h, w), from 1; 0: none.
        depth: millimetres along the optical axis (h, w); 0: nothing is there, or it is not known.
    """

    light: Field
    parts: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    depth: Field


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A body as the renderer has it, and as rays of our own meet it."""

    shape: Any
    surface: Surface


@dataclass
class Painter:
    """Draws frames of one clip; keeps the renderer's objects for what does not change between frames."""

    look: Look
    height: int
    width: int
    distance: float
    mi: Any = field(default_factory=renderer)
    _bsdfs: dict[int, Any] = field(default_factory=dict)
    _still: dict[int, _Drawn] = field(default_factory=dict)
    _group: Group | None = None
    _kept: list[object] = field(default_factory=list)

    def frame(self, still: Sequence[Body], moving: Sequence[Body], camera: Floats) -> Shot:
        """One frame; `camera` is its 4x4 pose. Nothing in it is left to chance.

        `still` bodies must be the same objects in every frame of the clip.
        """
        resting, moved = [self._resting(body) for body in still], [self._drawn(body) for body in moving]
        shapes = {f"s{index:03d}": drawn.shape for index, drawn in enumerate((*resting, *moved))}
        world = {"type": "scene", **shapes, **self._lights(camera), "view": self._sensor(camera)}
        # Unoptimised, because merging meshes costs more than it saves here.
        scene = self.mi.load_dict(world, parallel=False, optimize=False)
        path = self.mi.load_dict({"type": "path", "max_depth": BOUNCES})
        spot = np.array(self.mi.render(scene, integrator=path, seed=0, spp=1), dtype=float)
        groups = (self._resting_group(resting), Group([drawn.surface for drawn in moved]))
        seen = gbuffer(groups, camera, self.look.view_deg, self.height, self.width)
        bodies = (*still, *moving)
        labels = np.array([0, *(body.label for body in bodies)], dtype=np.uint8)[seen.number]
        instances = np.array([0, *(body.instrument for body in bodies)], dtype=np.uint8)[seen.number]
        light = self._light(np.nan_to_num(spot), self._even(seen, bodies))
        return Shot(light, labels, instances, seen.depth)

    def _light(self, spot: Field, even: Field) -> Field:
        light = even if "lighting" in self.look.plain else _without_sparks(spot) + self.look.ambient * even
        spread: Field = gaussian_filter(light, (LENS_PX, LENS_PX, 0))
        return spread

    def _even(self, seen: GBuffer, bodies: Sequence[Body]) -> Field:
        """Light that comes from everywhere (h, w, 3): the reflectance, less where the surface turns away, and less of
        metal. Light traced from all around would cost more and leave grain.
        """
        facing = 1.0 if "lighting" in self.look.plain else np.clip(np.abs(seen.normal[..., 2:]), 0, 1)
        returned = np.array([0.0, *(self.look.mirrored if body.material.kind == "metal" else 1.0 for body in bodies)])
        even: Field = seen.reflectance * (0.35 + 0.65 * facing) / np.pi * returned[seen.number][..., None]
        return even

    def _resting(self, body: Body) -> _Drawn:
        if id(body) not in self._still:
            self._still[id(body)] = self._drawn(body)
            self._kept.append(body)  # alive, so that its id is not used again
        return self._still[id(body)]

    def _resting_group(self, resting: Sequence[_Drawn]) -> Group:
        """Of bodies that rest in this frame; the last group is kept, as the next frame's is often the same."""
        surfaces = [drawn.surface for drawn in resting]
        if self._group is None or self._group.surfaces != surfaces:  # compared by identity
            self._group = Group(surfaces)
        return self._group

    def _drawn(self, body: Body) -> _Drawn:
        properties = self.mi.Properties()
        material = plain(body, self.look.plain)
        properties["bsdf"] = self._bsdf(material)
        shape, normals = _to_renderer(self.mi, body.mesh, properties)
        return _Drawn(shape, Surface(body.mesh, normals, material))

    def _bsdf(self, material: Material) -> Any:
        if id(material) not in self._bsdfs:
            recipe = _bsdf_recipe(self.mi, material)
            self._bsdfs[id(material)] = self.mi.load_dict(recipe, parallel=False, optimize=False)
            self._kept.append(material)
        return self._bsdfs[id(material)]

    def _lights(self, camera: Floats) -> dict[str, Any]:
        look = self.look
        position = camera[:3, :3] @ np.array(look.light) + camera[:3, 3]
        aim = camera[:3, :3] @ np.array([0.0, 0.0, self.distance]) + camera[:3, 3]
        pose = self.mi.ScalarTransform4f().look_at(position.tolist(), aim.tolist(), [0, 1, 0])
        spot = {"type": "spot", "to_world": pose, "cutoff_angle": look.beam, "beam_width": 0.5 * look.beam}
        return {"spot": spot | {"intensity": self.distance**2}}

    def _sensor(self, camera: Floats) -> dict[str, Any]:
        film = {"type": "hdrfilm", "width": self.width, "height": self.height, "rfilter": {"type": "box"}}
        film |= {"pixel_format": "rgb", "component_format": "float32"}
        origin, axes = camera[:3, 3], camera[:3, :3]
        pose = self.mi.ScalarTransform4f().look_at(
            origin.tolist(), (origin + axes[:, 2]).tolist(), (-axes[:, 1]).tolist()
        )
        lens = {"type": "perspective", "fov": self.look.view_deg, "fov_axis": "x", "to_world": pose}
        lens |= {"near_clip": 0.5, "far_clip": 2000.0}
        # Through each pixel's centre, where labels are read as well, and on by the middle of what a surface scatters:
        # one path without chance leaves no grain, which a real camera would not show either.
        centres = {"type": "stratified", "sample_count": 1, "jitter": False}
        return lens | {"film": film, "sampler": centres}


def plain(body: Body, ingredients: frozenset[Ingredient]) -> Material:
    """The material of `body` when `ingredients` are left out: see `Look.without`."""
    material = body.material
    if body.label and "instruments" in ingredients:
        return GREY
    if not body.label and "texture" in ingredients and material.colour_map is not None:
        red, green, blue = (float(value) for value in material.colour_map.mean(axis=(0, 1)))
        return Material("plastic", (red, green, blue), material.roughness)
    return material


def _without_sparks(light: Field) -> Field:
    """Dims single pixels that outshine all their neighbours, as at the rims of round shafts; glints are wider."""
    brightness = light.sum(axis=2)
    second = rank_filter(brightness, -2, size=3, mode="nearest")
    kept: Field = light * np.minimum(1.0, 1.3 * second / np.maximum(brightness, 1e-9))[..., None]
    return kept


def _to_renderer(mi: Any, mesh: Mesh, properties: Any) -> tuple[Any, NDArray[np.float32]]:
    """The renderer's mesh, and the normals (v, 3) that it gives the vertices."""
    shape = mi.Mesh(
        "mesh",
        len(mesh.vertices),
        len(mesh.faces),
        props=properties,
        has_vertex_normals=True,
        has_vertex_texcoords=True,
    )
    values = mi.traverse(shape)
    values["vertex_positions"] = mesh.vertices.astype(np.float32).ravel()
    values["faces"] = mesh.faces.astype(np.uint32).ravel()
    values["vertex_texcoords"] = mesh.uv.astype(np.float32).ravel()
    values.update()  # also computes the shading normals
    return shape, np.array(values["vertex_normals"], dtype=np.float32).reshape(-1, 3)


def _bsdf_recipe(mi: Any, material: Material) -> dict[str, Any]:
    colour: dict[str, Any] = {"type": "rgb", "value": list(material.colour)}
    if material.colour_map is not None:
        colour = _bitmap(mi, material.colour_map)
    # Disney's principled surface: unlike rough plastic it needs no tables, which cost 8 ms for every material.
    surface: dict[str, Any] = {
        "type": "principled",
        "base_color": colour,
        "roughness": float(np.sqrt(material.roughness)),  # its alpha is the square
        "metallic": float(material.kind == "metal"),
        "specular": 0.5,  # an index of refraction of 1.5
    }
    if material.bump_map is not None:
        bump = _bitmap(mi, material.bump_map[..., None])
        surface = {"type": "bumpmap", "relief": bump, "coat": surface}
    return surface


def _bitmap(mi: Any, values: NDArray[np.float32]) -> dict[str, Any]:
    pixels = mi.Bitmap(np.ascontiguousarray(values, dtype=np.float32))
    return {"type": "bitmap", "bitmap": pixels, "raw": True}

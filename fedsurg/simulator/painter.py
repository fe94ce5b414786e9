"""Renders bodies with Mitsuba's scalar variant: linear light and an exact label for every pixel."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import rank_filter

from fedsurg.errors import SimulatorError
from fedsurg.simulator.fields import Field
from fedsurg.simulator.ingredients import Ingredient
from fedsurg.simulator.looks import Look
from fedsurg.simulator.materials import Body, Material
from fedsurg.simulator.meshes import Floats, Mesh

VARIANT = "scalar_rgb"  # the LLVM variants abort on some processors
SAMPLES = 2
BOUNCES = 3  # eye to surface, to a second surface (metal mirrors tissue), to the light

GREY = Material("plastic", (0.25, 0.25, 0.25), 0.3)


def renderer() -> Any:
    """The `mitsuba` module, quiet, single-threaded (clips are rendered in parallel) and set to `VARIANT`.

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
        depth: millimetres along the optical axis (h, w); 0: nothing is there.
    """

    light: Field
    parts: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    depth: Field


@dataclass
class Painter:
    """Draws frames of one clip; keeps the renderer's objects for what does not change between frames."""

    look: Look
    height: int
    width: int
    distance: float
    mi: Any = field(default_factory=renderer)
    _bsdfs: dict[int, Any] = field(default_factory=dict)
    _meshes: dict[int, Any] = field(default_factory=dict)
    _kept: list[object] = field(default_factory=list)

    def frame(self, still: Sequence[Body], moving: Sequence[Body], camera: Floats, seed: int) -> Shot:
        """One frame; `camera` is its 4x4 pose.

        `still` bodies must be the same objects in every frame of the clip.
        """
        shapes = [self._still_mesh(body) for body in still] + [self._mesh(body) for body in moving]
        parts = {f"s{index:03d}": shape for index, shape in enumerate(shapes)}
        world = {"type": "scene", **parts, **self._lights(camera), **self._sensors(camera)}
        # Unoptimised, because merged meshes would lose their own shape index.
        scene = self.mi.load_dict(world, parallel=False, optimize=False)
        path = self.mi.load_dict({"type": "path", "max_depth": BOUNCES})
        spot = np.array(self.mi.render(scene, integrator=path, sensor=0, seed=seed, spp=SAMPLES), dtype=float)
        numbers, even, points = self._centres(scene)
        bodies = (*still, *moving)
        labels = np.array([0, *(body.label for body in bodies)], dtype=np.uint8)[numbers]
        instances = np.array([0, *(body.instrument for body in bodies)], dtype=np.uint8)[numbers]
        depth = np.where(numbers > 0, (points - camera[:3, 3]) @ camera[:3, 2], 0.0)
        returned = np.array([0.0, *(self.look.mirrored if body.material.kind == "metal" else 1.0 for body in bodies)])
        even = even * returned[numbers][..., None]
        return Shot(self._light(np.nan_to_num(spot), even), labels, instances, depth)

    def _light(self, spot: Field, even: Field) -> Field:
        if "lighting" in self.look.plain:
            return even
        return _without_fireflies(spot) + self.look.ambient * even

    def _centres(self, scene: Any) -> tuple[NDArray[np.int64], Field, Field]:
        """What lies at each pixel's centre, found with one ray.

        Returns the shape's number from 1, or 0 for none (h, w), its share of even light (h, w, 3): the
        reflectance, less where the surface turns away; and the point that the ray met (h, w, 3). Light traced from
        all around would cost more and leave grain.
        """
        recipe = {"type": "aov", "aovs": "number:shape_index,colour:albedo,normal:sh_normal,point:position"}
        values = np.array(self.mi.render(scene, integrator=self.mi.load_dict(recipe), sensor=1, seed=0, spp=1))
        facing = 1.0 if "lighting" in self.look.plain else np.clip(np.abs(values[..., 6:7]), 0, 1)
        even: Field = np.nan_to_num(values[..., 1:4]).astype(float) * (0.35 + 0.65 * facing) / np.pi
        return np.round(values[..., 0]).astype(np.int64), even, np.nan_to_num(values[..., 7:10]).astype(float)

    def _still_mesh(self, body: Body) -> Any:
        if id(body) not in self._meshes:
            self._meshes[id(body)] = self._mesh(body)
            self._kept.append(body)  # alive, so that its id is not used again
        return self._meshes[id(body)]

    def _mesh(self, body: Body) -> Any:
        properties = self.mi.Properties()
        properties["bsdf"] = self._bsdf(plain(body, self.look.plain))
        return _to_renderer(self.mi, body.mesh, properties)

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

    def _sensors(self, camera: Floats) -> dict[str, Any]:
        """Sensor 0 takes the picture; sensor 1 sends one ray through each pixel's centre."""
        film = {"type": "hdrfilm", "width": self.width, "height": self.height, "rfilter": {"type": "box"}}
        film |= {"pixel_format": "rgb", "component_format": "float32"}
        origin, axes = camera[:3, 3], camera[:3, :3]
        pose = self.mi.ScalarTransform4f().look_at(
            origin.tolist(), (origin + axes[:, 2]).tolist(), (-axes[:, 1]).tolist()
        )
        lens = {
            "type": "perspective",
            "fov": self.look.view_deg,
            "fov_axis": "x",
            "to_world": pose,
            "film": film,
        }
        lens |= {"near_clip": 0.5, "far_clip": 2000.0}
        centres = {"type": "stratified", "sample_count": 1, "jitter": False}
        return {
            "view_0": lens | {"sampler": {"type": "independent", "sample_count": SAMPLES}},
            "view_1": lens | {"sampler": centres},
        }


def plain(body: Body, ingredients: frozenset[Ingredient]) -> Material:
    """The material of `body` when `ingredients` are left out: see `Look.without`."""
    material = body.material
    if body.label and "instruments" in ingredients:
        return GREY
    if not body.label and "texture" in ingredients and material.colour_map is not None:
        red, green, blue = (float(value) for value in material.colour_map.mean(axis=(0, 1)))
        return Material("plastic", (red, green, blue), material.roughness)
    return material


def _without_fireflies(light: Field) -> Field:
    """Dims single pixels that outshine all their neighbours: chance paths, not glints, which are wider."""
    brightness = light.sum(axis=2)
    second = rank_filter(brightness, -2, size=3, mode="nearest")
    kept: Field = light * np.minimum(1.0, 1.3 * second / np.maximum(brightness, 1e-9))[..., None]
    return kept


def _to_renderer(mi: Any, mesh: Mesh, properties: Any) -> Any:
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
    return shape


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

"""Scenes that are photographed in part: tissue, instruments or both come from pictures, the rest is rendered.

| backgrounds | instruments | tissue | instruments |
|---|---|---|---|
| - | - | rendered | rendered |
| given | - | a photograph | rendered over a wet wall with the photograph's colours, which the metal mirrors |
| - | given | rendered | cut-outs |
| given | given | a photograph | cut-outs; nothing is rendered |

Everything meets in linear light, before the camera: exposure, colour and noise are the same for all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from fedsurg.files import derived_seed
from fedsurg.simulator.actions import ACTIVITIES
from fedsurg.simulator.assets import Assets
from fedsurg.simulator.backdrop import MIDDLE_GREY, Backdrop, draw_backdrop
from fedsurg.simulator.camera import BLIND
from fedsurg.simulator.clip import (
    EMPTY_SHARE,
    Clip,
    ClipSeeds,
    Frame,
    draw_clip,
    frame_seed,
    look_of,
    photographed,
    taken,
)
from fedsurg.simulator.colour import Palette, palette_of
from fedsurg.simulator.fields import Field, Rng
from fedsurg.simulator.ingredients import USUAL, Recipe
from fedsurg.simulator.looks import Look
from fedsurg.simulator.materials import Body, Material
from fedsurg.simulator.meshes import grid
from fedsurg.simulator.painter import Painter, Shot
from fedsurg.simulator.pasting import Pasted, draw_pasted
from fedsurg.simulator.pictures import load_background, load_cutout
from fedsurg.simulator.profiles import AnatomyProfile
from fedsurg.simulator.sight import Murk, Sight, draw_murk

WALL_TEXELS = 96  # what a mirroring shaft shows of the photograph needs no detail
BARE, BUSY = ACTIVITIES[0], "idle"  # of a cut-out nobody knows what it does


@dataclass(frozen=True, eq=False)
class Ground:
    """What lies behind the cut-outs of one clip.

    Attributes:
        clip: what is rendered; None: nothing.
        backdrop: the photograph behind that; None: rendered tissue.
        murk: what dims the view; that of the clip, if there is one.
    """

    size: tuple[int, int]
    clip: Clip | None
    backdrop: Backdrop | None
    murk: Murk

    def sight(self, time: float) -> Sight:
        """What dims the view at `time` seconds."""
        return self.clip.sight(time) if self.clip else self.murk.at(time, self.size)

    def at(self, time: float) -> Shot:
        """What lies in view at `time` seconds; its light has the scale of a photograph's."""
        if self.clip is None:
            assert self.backdrop is not None
            nothing = np.zeros(self.size, np.uint8)
            return Shot(self.backdrop.at(time), nothing, nothing, np.zeros(self.size))
        bare = not self.clip.tools and time == 0
        shot = self._bare if bare else self.clip.shot(self._painter, time)
        if self.backdrop is not None:
            return replace(shot, light=_over(shot, self._unit, self.backdrop.at(time)))
        return replace(shot, light=shot.light / self._unit)

    def palette(self) -> Palette:
        """Its colours at the beginning, without instruments."""
        return palette_of(self._bare.light / self._unit if self.backdrop is None else self.backdrop.at(0.0))

    @cached_property
    def _painter(self) -> Painter:
        assert self.clip is not None
        return self.clip.painter()

    @cached_property
    def _bare(self) -> Shot:
        assert self.clip is not None
        return replace(self.clip, tools=[]).shot(self._painter, 0.0)

    @cached_property
    def _unit(self) -> float:
        """Rendered light that is as bright as a photograph's 1."""
        return max(float(self._bare.light.mean()), 1e-6) / MIDDLE_GREY


@dataclass(frozen=True, eq=False)
class Scene:
    """One clip with photographs in it, frame by frame: a ground and cut-outs over it, from the back to the front."""

    look: Look
    seed: int
    ground: Ground
    pasted: Sequence[Pasted]
    pasted_kinds: tuple[str, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Type of each instrument, in the order of their numbers."""
        return self.pasted_kinds or (self.ground.clip.kinds if self.ground.clip else ())

    def activity(self, time: float) -> str:
        """What is being done at `time` seconds."""
        rendered = self.ground.clip
        if rendered and (rendered.tools or rendered.camera.veil(time) >= BLIND):
            return rendered.activity(time)
        return BUSY if self.pasted else BARE

    def frame(self, number: int, time: float) -> Frame:
        """Frame `number`, at `time` seconds."""
        seed = frame_seed(self.seed, number)
        return taken(lambda moment: self._seen(moment, seed), time, self.look)

    def _seen(self, time: float, seed: int) -> Frame:
        shot = self.ground.at(time)
        for index, cutout in enumerate(self.pasted, 1):
            light, parts = cutout.over(shot.light, time)
            covered = parts > 0
            instances = np.where(covered, index, shot.instances).astype(np.uint8)
            depth = np.where(covered, 0.0, shot.depth)  # a cut-out's is not known
            shot = Shot(light, np.where(covered, parts, shot.parts).astype(np.uint8), instances, depth)
        return photographed(shot, self.look, self.ground.sight(time), seed)


def draw_scene(
    profile: AnatomyProfile,
    seeds: ClipSeeds,
    size: tuple[int, int],
    duration: float,
    assets: Assets,
    photograph: int,
    recipe: Recipe = USUAL,
) -> Scene:
    """Draws a clip of `duration` seconds and `size` (h, w); equal arguments give equal scenes, on any worker.

    Args:
        photograph: number of the background to use, if there are any.

    Raises:
        SimulatorError: a picture cannot be used.
    """
    rng = np.random.default_rng(derived_seed("pictures", seeds.clip))
    backdrop = None
    if assets.backgrounds:
        backdrop = draw_backdrop(load_background(assets.backgrounds[photograph]), size, rng)
    clip = None
    if not (assets.backgrounds and assets.cutouts):
        clip = draw_clip(profile, seeds, *size, duration, recipe)
        clip = replace(clip, still=[_wall(backdrop, clip)]) if backdrop else replace(clip, tools=[])
    murk = clip.murk if clip else draw_murk(profile, seeds.clip, duration, recipe)
    ground = Ground(size, clip, backdrop, murk)
    pasted, kinds = _draw_cutouts(assets, ground, profile, seeds.case, rng)
    return Scene(look_of(profile, seeds, recipe), seeds.clip, ground, pasted, kinds)


def _draw_cutouts(
    assets: Assets, ground: Ground, profile: AnatomyProfile, case: int, rng: Rng
) -> tuple[list[Pasted], tuple[str, ...]]:
    """The cut-outs of a clip, from different sides, and their types; now and then there is none."""
    if not assets.cutouts or rng.random() < EMPTY_SHARE:
        return [], ()
    tray = np.random.default_rng(derived_seed("cut-outs", case))
    count = 1 + int(tray.choice(len(profile.counts), p=profile.counts))
    chosen = tray.choice(len(assets.cutouts), size=count, replace=count > len(assets.cutouts))
    palette = ground.palette()
    first = rng.uniform(0, 2 * np.pi)
    pasted = []
    for index, number in enumerate(chosen):
        bearing = first + index * rng.uniform(0.3, 2.4) * rng.choice([-1, 1])
        picture = load_cutout(assets.cutouts[number])
        pasted.append(draw_pasted(picture, palette, ground.size, bearing, profile.eye, rng))
    return pasted, tuple(assets.cutouts[number].kind for number in chosen)


def _wall(backdrop: Backdrop, clip: Clip) -> Body:
    """A flat wet wall with the photograph's colours, behind rendered instruments."""
    small = [
        np.asarray(Image.fromarray(band.astype(np.float32)).resize((WALL_TEXELS, WALL_TEXELS), Image.Resampling.BOX))
        for band in np.moveaxis(backdrop.light, -1, 0)
    ]
    colours = np.clip(np.stack(small, axis=-1), 0.01, 0.9).astype(np.float32)
    deepest = max((float(handling.ground.depth.max()) for _, handling in clip.tools), default=clip.distance)
    away = 1.15 * deepest  # behind all tips
    half = 1.5 * away * clip.view.corner
    x, y = np.meshgrid((-half, half), (-half, half))
    mesh = grid(np.stack([x, y, np.full((2, 2), away)], axis=-1))
    return Body(mesh, Material("plastic", (0.5, 0.3, 0.3), 0.3, colour_map=colours), 0)


def _over(shot: Shot, unit: float, behind: Field) -> Field:
    """Rendered instruments, with soft edges and a soft shadow, in front of a photograph's light."""
    width = shot.parts.shape[1]
    solid = (shot.parts > 0).astype(float)
    edge = gaussian_filter(solid, float(np.clip(width / 384, 0.4, 1.0)), mode="nearest")[..., None]
    dark = 1 - 0.4 * gaussian_filter(solid, width * 0.02, mode="nearest")[..., None]
    cast = (behind.mean(axis=(0, 1)) / behind.mean()) ** 0.15  # a little of the photograph's tint
    blended: Field = edge * shot.light / unit * cast + (1 - edge) * behind * dark
    return blended

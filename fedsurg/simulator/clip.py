"""One clip: an anatomy, its instruments and their motion, drawn from seeds, frame by frame."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter

from fedsurg.files import derived_seed
from fedsurg.simulator.actions import ACTIVITIES
from fedsurg.simulator.anatomy import draw_anatomy
from fedsurg.simulator.camera import BLIND, Camera, draw_camera
from fedsurg.simulator.fields import Field
from fedsurg.simulator.focus import defocused
from fedsurg.simulator.ground import ground_of, yielded
from fedsurg.simulator.hands import draw_hands, draw_work
from fedsurg.simulator.ingredients import USUAL, Recipe
from fedsurg.simulator.instruments import Instrument, posed
from fedsurg.simulator.lens import wetted
from fedsurg.simulator.looks import Look, draw_look
from fedsurg.simulator.materials import Body
from fedsurg.simulator.meshes import Floats, translation
from fedsurg.simulator.motion import Handling, Swell, View, draw_swell
from fedsurg.simulator.motion_blur import smeared
from fedsurg.simulator.nuisance import circle, develop
from fedsurg.simulator.painter import Painter, Shot
from fedsurg.simulator.profiles import AnatomyProfile
from fedsurg.simulator.sight import Murk, Sight, draw_murk
from fedsurg.simulator.smoke import SMOKES, Puff, moments_of_puffs
from fedsurg.simulator.wear import HALF_FRAME_S, bent, draw_wear, recorded

EMPTY_SHARE = 0.03  # of clips that show no instrument at all; others lose theirs for a while
SHARP_SHARE = 0.4  # of clips with a shutter too fast for motion blur


@dataclass(frozen=True)
class ClipSeeds:
    """What a clip is drawn from: `look` the camera and what instruments are made of, `case` the anatomy and the set
    of instruments, `clip` the motion.
    """

    look: int
    case: int
    clip: int


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture (h, w, 3) and its labels (h, w), as in `Shot`; all of them 0 outside a round view."""

    picture: NDArray[np.uint8]
    parts: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    depth: Field


def frame_seed(clip_seed: int, number: int) -> int:
    """Seed of what is random in frame `number` of a clip: its noise."""
    return derived_seed("frame", clip_seed, number)


def photographed(shot: Shot, look: Look, sight: Sight, seed: int) -> Frame:
    """What the camera makes of a shot; `seed` draws its noise."""
    height, width = shot.parts.shape
    smoke = sight.smoke
    if look.wear:
        shot = _through(shot, look.wear.bend)
        smoke = smoke if smoke is None else bent(smoke, look.wear.bend, labels=False)
    inside = circle(height, width, look) & (sight.veil < BLIND)
    parts, instances = (np.where(inside, found, 0).astype(np.uint8) for found in (shot.parts, shot.instances))
    light = defocused(shot.light, shot.depth, look.defocus_mm)
    light = gaussian_filter(light, (0.03 * width * sight.veil,) * 2 + (0,)) if sight.veil else light
    picture = develop(light, look, smoke, np.random.default_rng(seed))
    if sight.lens:
        picture = wetted(picture, sight.lens)
    if sight.veil:
        picture = np.round(picture * (1 - sight.veil)).astype(np.uint8)
    return Frame(picture, parts, instances, np.where(inside, shot.depth, 0.0))


def taken(frame_at: Callable[[float], Frame], time: float, look: Look) -> Frame:
    """The frame at `time` seconds as it was recorded; only a worn camera's recorder changes it."""
    frame = frame_at(time)
    if look.wear is None:
        return frame
    earlier = max(time - HALF_FRAME_S, 0.0)
    return replace(frame, picture=recorded(frame.picture, lambda: frame_at(earlier).picture, look.wear))


def _through(shot: Shot, bend: float) -> Shot:
    """A shot through a lens that bends: what is seen and its labels alike."""
    parts, instances = (bent(found, bend, labels=True) for found in (shot.parts, shot.instances))
    return Shot(bent(shot.light, bend, labels=False), parts, instances, bent(shot.depth, bend, labels=True))


@dataclass(frozen=True, eq=False)
class Clip:
    """A drawn clip, ready to be rendered.

    Attributes:
        still: what is there without instruments, in the coordinates of the tissue.
        tools: the instruments and how they are moved, relative to the camera's first place.
        camera, swell: how the camera moves, and the tissue.
        murk: what dims the view.
        shutter: seconds of exposure.
    """

    look: Look
    view: View
    distance: float
    still: list[Body]
    tools: list[tuple[Instrument, Handling]]
    camera: Camera
    swell: Swell
    murk: Murk
    shutter: float
    seed: int
    size: tuple[int, int]

    def painter(self) -> Painter:
        """A renderer for this clip."""
        return Painter(self.look, *self.size, self.distance)

    def frame(self, painter: Painter, number: int, time: float) -> Frame:
        """Frame `number`, at `time` seconds."""
        seed = frame_seed(self.seed, number)

        def frame_at(moment: float) -> Frame:
            return photographed(self.shot(painter, moment), self.look, self.sight(moment), seed)

        return taken(frame_at, time, self.look)

    def shot(self, painter: Painter, time: float) -> Shot:
        """What lies in view at `time` seconds."""
        contacts = [c for tool, handling in self.tools if (c := handling.contact(tool, time)) is not None]
        bodies = [yielded(body, contacts) for body in self.still]
        still = [body for body, before in zip(bodies, self.still, strict=True) if body is before]
        moving = [body for body, before in zip(bodies, self.still, strict=True) if body is not before]
        camera = translation(-self.swell.at(time)) @ self.camera.pose(time)
        shot = painter.frame(still, [*moving, *self.bodies(time)], camera)
        return replace(shot, light=smeared(shot.light, shot.instances, self._ways(time)))

    def sight(self, time: float) -> Sight:
        """What dims the view at `time` seconds."""
        return self.murk.at(time, self.size, self.camera, self._puffs(time) if self.murk.plumes else ())

    def bodies(self, time: float) -> list[Body]:
        """The instruments at `time` seconds, in their parts; each body knows the number of its instrument, from 1.

        In the coordinates of the tissue: it rests, and what it does not move is moved the other way.
        """
        tissue, found = self.swell.at(time), []
        for number, (tool, handling) in enumerate(self.tools, 1):
            posture = handling.posture(tool, time)
            if posture is not None:
                here = replace(posture, pose=translation(-tissue) @ posture.pose)
                found += [replace(body, instrument=number) for body in posed(tool, here)]
        return found

    @property
    def kinds(self) -> tuple[str, ...]:
        """Type of each instrument, in the order of their numbers."""
        return tuple(tool.kind for tool, _ in self.tools)

    def activities(self, time: float) -> tuple[str, ...]:
        """What each instrument does at `time` seconds, in the order of their numbers."""
        return tuple(handling.activity(time) for _, handling in self.tools)

    def activity(self, time: float) -> str:
        """What the busiest instrument does at `time` seconds; `out_of_view` when none is there."""
        if self.camera.veil(time) >= BLIND:
            return ACTIVITIES[0]
        return max(self.activities(time), key=ACTIVITIES.index, default=ACTIVITIES[0])

    def _ways(self, time: float) -> dict[int, tuple[float, float]]:
        """Pixels (across, down) that the tissue, 0, and the tip of each instrument cover while the shutter is open."""
        if not self.shutter:
            return {}
        opens, closes = time - self.shutter / 2, time + self.shutter / 2
        bed = np.array([0.0, 0.0, self.distance])
        places = [lambda moment: bed + self.swell.at(moment), *(handling.tip_at for _, handling in self.tools)]
        first, last = self.camera.pose(opens), self.camera.pose(closes)
        ways = {number: self._seen(at(closes), last) - self._seen(at(opens), first) for number, at in enumerate(places)}
        return {number: (float(way[0]), float(way[1])) for number, way in ways.items()}

    def _puffs(self, time: float) -> list[Puff]:
        """What coagulating instruments have given off by `time` seconds and has not blown away."""
        middle, side = np.array(self.size[::-1]) / 2, max(self.size)
        camera, puffs = self.camera.pose(time), []
        for _, handling in self.tools:
            for moment in moments_of_puffs(time):
                if handling.activity(moment) == SMOKES:
                    across, down = (self._seen(handling.tip_at(moment), camera) + middle) / side
                    puffs.append(Puff(time - moment, float(across), float(down)))
        return puffs

    def _seen(self, place: Floats, camera: Floats) -> Floats:
        """Pixels (2,) from the picture's middle of a place (3,), in millimetres from the camera's first, by a pose."""
        x, y, z = camera[:3, :3].T @ (place - camera[:3, 3])
        seen: Floats = np.array([x, y]) * self.size[1] / (2 * self.view.half_width * max(z, 1.0))
        return seen


def look_of(profile: AnatomyProfile, seeds: ClipSeeds, recipe: Recipe = USUAL) -> Look:
    """The camera of a clip."""
    look = draw_look(profile, np.random.default_rng(derived_seed("look", seeds.look))).without(recipe.plain)
    if not recipe.worn:
        return look
    return replace(look, wear=draw_wear(np.random.default_rng(derived_seed("wear", seeds.look))))


def draw_clip(
    profile: AnatomyProfile,
    seeds: ClipSeeds,
    height: int,
    width: int,
    duration: float,
    recipe: Recipe = USUAL,
) -> Clip:
    """Draws a clip of `duration` seconds; equal arguments give equal clips, on any worker."""
    look = look_of(profile, seeds, recipe)
    tangent = float(np.tan(np.deg2rad(look.view_deg / 2)))
    view = View(tangent, tangent * height / width)
    anatomy = np.random.default_rng(derived_seed("case", seeds.case))
    distance = float(anatomy.uniform(*profile.distance_mm))
    texels = fft.next_fast_len(int(np.clip(1.8 * max(height, width), 96, 640)), real=True)
    still = draw_anatomy(profile, view, distance, texels, anatomy)
    hands = draw_hands(profile, view, distance, np.random.default_rng(derived_seed("tools", seeds.case)), seeds.look)
    rng = np.random.default_rng(derived_seed("clip", seeds.clip))
    ground = ground_of(still, (view.half_width, view.half_height))
    tools = [] if rng.random() < EMPTY_SHARE else draw_work(hands, profile, ground, duration, rng)
    half_width = view.half_width * distance
    camera, swell = draw_camera(rng, half_width, distance, duration), draw_swell(rng, half_width, calm=profile.eye)
    murk = draw_murk(profile, seeds.clip, duration, recipe)
    shutter = 0.0 if rng.random() < SHARP_SHARE else rng.uniform(0.004, 0.03)
    return Clip(look, view, distance, still, tools, camera, swell, murk, shutter, seeds.clip, (height, width))

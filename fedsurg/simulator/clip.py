"""One clip: an anatomy, its instruments and their motion, drawn from seeds, frame by frame."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from fedsurg.files import derived_seed
from fedsurg.simulator.anatomy import draw_anatomy
from fedsurg.simulator.designs import draw_instrument
from fedsurg.simulator.fields import Field, Rng
from fedsurg.simulator.ingredients import Ingredient
from fedsurg.simulator.instruments import Instrument, posed
from fedsurg.simulator.looks import Look, draw_look
from fedsurg.simulator.materials import Body
from fedsurg.simulator.meshes import Floats, rotation, translation
from fedsurg.simulator.motion import ACTIVITIES, Handling, View, Wander, draw_handling, draw_wander, posture
from fedsurg.simulator.nuisance import circle, develop
from fedsurg.simulator.painter import Painter, Shot
from fedsurg.simulator.profiles import AnatomyProfile

EMPTY_SHARE = 0.03  # of clips that show no instrument at all; others lose theirs for a while


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


def photographed(shot: Shot, look: Look, seed: int) -> Frame:
    """What the camera makes of a shot; `seed` draws its noise."""
    height, width = shot.parts.shape
    inside = circle(height, width, look)
    parts, instances = (np.where(inside, found, 0).astype(np.uint8) for found in (shot.parts, shot.instances))
    picture = develop(shot.light, look, np.random.default_rng(seed))
    return Frame(picture, parts, instances, np.where(inside, shot.depth, 0.0))


@dataclass(frozen=True, eq=False)
class Clip:
    """A drawn clip, ready to be rendered."""

    look: Look
    view: View
    distance: float
    still: list[Body]
    tools: list[tuple[Instrument, Handling]]
    drift: Wander
    seed: int
    size: tuple[int, int]

    def painter(self) -> Painter:
        """A renderer for this clip."""
        return Painter(self.look, *self.size, self.distance)

    def frame(self, painter: Painter, number: int, time: float) -> Frame:
        """Frame `number`, at `time` seconds."""
        return photographed(self.shot(painter, number, time), self.look, self.seed_of(number))

    def shot(self, painter: Painter, number: int, time: float) -> Shot:
        """What lies in view in frame `number`, at `time` seconds."""
        return painter.frame(self.still, self.bodies(time), self._camera(time), self.seed_of(number) % 2**31)

    def seed_of(self, number: int) -> int:
        """What the chance in frame `number` is drawn from."""
        return derived_seed("frame", self.seed, number)

    def bodies(self, time: float) -> list[Body]:
        """The instruments at `time` seconds, in their parts; each body knows the number of its instrument, from 1."""
        return [
            replace(body, instrument=number)
            for number, (tool, handling) in enumerate(self.tools, 1)
            for body in posed(tool, posture(handling, tool, time))
        ]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Type of each instrument, in the order of their numbers."""
        return tuple(tool.kind for tool, _ in self.tools)

    def activity(self, time: float) -> str:
        """What the busiest instrument does at `time` seconds; `out_of_view` when none is there."""
        return max(
            (handling.activity(tool.kind, time) for tool, handling in self.tools),
            key=ACTIVITIES.index,
            default=ACTIVITIES[0],
        )

    def _camera(self, time: float) -> Floats:
        """A hand-held camera: it drifts and turns a little. 4x4."""
        x, y, z, pitch, yaw, roll = self.drift.at(time)
        moved = translation(np.array([x, y, 0.5 * z]) * 0.03 * self.view.half_width * self.distance)
        turned = rotation(0, 0.02 * pitch) @ rotation(1, 0.02 * yaw) @ rotation(2, 0.04 * roll)
        pose: Floats = moved @ turned
        return pose


def look_of(profile: AnatomyProfile, seeds: ClipSeeds, plain: frozenset[Ingredient] = frozenset()) -> Look:
    """The camera of a clip."""
    return draw_look(profile, np.random.default_rng(derived_seed("look", seeds.look))).without(plain)


def draw_clip(
    profile: AnatomyProfile,
    seeds: ClipSeeds,
    height: int,
    width: int,
    duration: float,
    plain: frozenset[Ingredient] = frozenset(),
) -> Clip:
    """Draws a clip of `duration` seconds; equal arguments give equal clips, on any worker."""
    look = look_of(profile, seeds, plain)
    tangent = float(np.tan(np.deg2rad(look.view_deg / 2)))
    view = View(tangent, tangent * height / width)
    anatomy = np.random.default_rng(derived_seed("case", seeds.case))
    distance = float(anatomy.uniform(*profile.distance_mm))
    texels = fft.next_fast_len(int(np.clip(1.8 * max(height, width), 96, 640)), real=True)
    still = draw_anatomy(profile, view, distance, texels, anatomy)
    tray = np.random.default_rng(derived_seed("tools", seeds.case))
    rng = np.random.default_rng(derived_seed("clip", seeds.clip))
    hand = _draw_instruments(profile, tray, seeds.look)
    tools = _draw_motion(hand, profile, view, distance, duration, rng)
    return Clip(look, view, distance, still, tools, draw_wander(rng, 6, fastest_hz=0.2), seeds.clip, (height, width))


def _draw_instruments(profile: AnatomyProfile, tray: Rng, maker: int) -> list[Instrument]:
    """One to three instruments; the seed `maker` decides their materials."""
    count = 1 + int(tray.choice(3, p=profile.counts))
    styles, weights = zip(*profile.instruments, strict=True)
    share = np.array(weights) / sum(weights)
    radius = tray.uniform(*profile.radius_mm)
    tools = []
    for index in range(count):
        style = styles[int(tray.choice(len(styles), p=share))]
        materials = np.random.default_rng(derived_seed("maker", maker, style.kind, style.carrier, index))
        tools.append(draw_instrument(style, radius, tray, materials))
    return tools


def _draw_motion(
    tools: list[Instrument], profile: AnatomyProfile, view: View, distance: float, duration: float, rng: Rng
) -> list[tuple[Instrument, Handling]]:
    """Each instrument with a motion, from different sides; now and then none is there at all."""
    if rng.random() < EMPTY_SHARE:
        return []
    from_below = profile.eye and rng.random() < 0.8  # where the surgeon of an eye sits
    first = rng.normal(np.pi / 2, 0.6) if from_below else rng.uniform(0, 2 * np.pi)
    moving = []
    for index, tool in enumerate(tools):
        bearing = first + index * rng.uniform(0.3, 2.4) * rng.choice([-1, 1])
        moving.append((tool, draw_handling(profile, view, distance, bearing, duration, rng)))
    return moving

"""How hands move: shafts through fixed ports, tips where a script wants them, breathing.

Everything is a function of time alone, so any frame can be computed without those before it.
"""

from dataclasses import dataclass

import numpy as np

from fedsurg.simulator.actions import Stance
from fedsurg.simulator.fields import Rng
from fedsurg.simulator.ground import Contact, Ground
from fedsurg.simulator.instruments import Instrument, Posture
from fedsurg.simulator.meshes import Floats, frame_along, rotation
from fedsurg.simulator.profiles import AnatomyProfile
from fedsurg.simulator.scripts import Script

GONE = 0.97  # drawn back this far to its port, an instrument is out of view
DEEPEST_PULL = 0.12  # of tissue, a share of its distance


@dataclass(frozen=True, eq=False)
class Wander:
    """A sum of slow sines per coordinate; zero mean, amplitude about 1."""

    amplitude: Floats
    rate: Floats
    phase: Floats

    def at(self, time: float) -> Floats:
        """The value (d,) at `time` seconds."""
        value: Floats = (self.amplitude * np.sin(2 * np.pi * self.rate * time + self.phase)).sum(axis=0)
        return value


def draw_wander(rng: Rng, size: int, *, fastest_hz: float = 0.5) -> Wander:
    """A random path in `size` coordinates."""
    shape = (3, size)
    share = rng.dirichlet(np.ones(3), size).T
    return Wander(share, rng.uniform(0.04, fastest_hz, shape), rng.uniform(0, 2 * np.pi, shape))


@dataclass(frozen=True)
class View:
    """The camera's picture in millimetres at depth 1: half-width and half-height."""

    half_width: float
    half_height: float

    @property
    def corner(self) -> float:
        """Half of the diagonal."""
        return float(np.hypot(self.half_width, self.half_height))


@dataclass(frozen=True, eq=False)
class Swell:
    """The bed's own movement: breathing and, smaller and faster, the pulse."""

    breath: Floats
    pulse: Floats
    rates_hz: tuple[float, float]
    phases: tuple[float, float]

    def at(self, time: float) -> Floats:
        """Displacement (3,) in millimetres at `time` seconds."""
        slow, fast = (2 * np.pi * (rate * time + phase) for rate, phase in zip(self.rates_hz, self.phases, strict=True))
        moved: Floats = self.breath * np.sin(slow) + self.pulse * (np.sin(fast) + 0.4 * np.sin(2 * fast))
        return moved


def draw_swell(rng: Rng, half_width: float, *, calm: bool) -> Swell:
    """Breathing of a view that is `half_width` millimetres wide to each side; `calm` for the eye."""
    size = half_width * rng.uniform(0.004, 0.02) * (0.2 if calm else 1.0)
    breath, pulse = (way / np.linalg.norm(way) for way in rng.normal(0, (0.5, 0.7, 1.0), (2, 3)))
    return Swell(
        size * breath, 0.2 * size * pulse, (rng.uniform(0.2, 0.32), rng.uniform(0.9, 1.5)), (rng.random(), rng.random())
    )


@dataclass(frozen=True, eq=False)
class Handling:
    """How one instrument is moved during a clip.

    Attributes:
        port: point every shaft axis passes through, outside the picture, in camera coordinates.
        script: what it does; tremor: what the hand adds, a Wander in 5 coordinates (x, y, lift, pitch, yaw).
    """

    port: Floats
    script: Script
    tremor: Wander
    ground: Ground

    def activity(self, time: float) -> str:
        """What is being done at `time` seconds: one of `ACTIVITIES`."""
        return self.script.at(time)[0]

    def stance(self, time: float) -> Stance:
        """The scripted stance with the hand's tremor."""
        x, y, lift, pitch, yaw = self.tremor.at(time) * (0.03, 0.03, 0.4, 0.2, 0.2)
        stance = self.script.at(time)[1]
        return stance.plus(Stance(x=x, y=y, taken_x=x, taken_y=y, lift=lift * stance.lift, pitch=pitch, yaw=yaw))

    def tip(self, stance: Stance) -> Floats:
        """Where the tip is (3,), in millimetres from the camera."""
        place = self.ground.point(stance.x, stance.y) * (1 - stance.lift)
        moved: Floats = place + stance.out * (self.port - place)
        return moved

    def tip_at(self, time: float) -> Floats:
        """Where the tip is (3,) at `time` seconds."""
        return self.tip(self.stance(time))

    def posture(self, instrument: Instrument, time: float) -> Posture | None:
        """Where the instrument is at `time` seconds; None while it is out of view."""
        stance = self.stance(time)
        if stance.out > GONE:
            return None
        pitch, yaw = (float(instrument.bend * np.clip(angle, -1.2, 1.2)) for angle in (stance.pitch, stance.yaw))
        low, high = instrument.gape
        opening = low + (high - low) * float(np.clip(stance.opening, 0, 1))
        return Posture(
            _through(self.port, self.tip(stance), _tip_of(instrument, pitch, yaw), stance.roll), pitch, yaw, opening
        )

    def contact(self, instrument: Instrument, time: float) -> Contact | None:
        """Where it presses into tissue or pulls it, if it does."""
        stance = self.stance(time)
        if stance.out > 0 or (stance.grip < 0.01 and stance.lift >= 0):
            return None
        tip = self.tip(stance)
        place = self.ground.point(stance.taken_x, stance.taken_y) if stance.grip >= 0.01 else tip / (1 - stance.lift)
        push = (tip - place) * (stance.grip if stance.lift > 0 else 1.0)
        share = min(1.0, DEEPEST_PULL * float(np.linalg.norm(place)) / max(float(np.linalg.norm(push)), 1e-9))
        return Contact(place, share * push, (3.0 + 3.0 * stance.grip) * instrument.radius)


def _tip_of(instrument: Instrument, pitch: float, yaw: float) -> Floats:
    """The tip (3,) in the shaft's frame for wrist angles."""
    jaws = rotation(1, yaw) @ np.array([0.0, 0.0, instrument.tip - instrument.wrist, 1.0])
    tip: Floats = (rotation(0, pitch) @ (jaws + np.array([0.0, 0.0, instrument.wrist, 0.0])))[:3]
    return tip


def _through(port: Floats, tip: Floats, local: Floats, roll: float) -> Floats:
    """Pose of a shaft whose axis passes `port`, with the point `local` (3,) of its frame at `tip`."""
    direction = tip - port
    aside = local * (1.0, 1.0, 0.0)
    for _ in range(3 if aside.any() else 1):  # the way aside depends on the axis, and the axis on it
        pose = frame_along(direction, roll, up=(0.0, 0.0, -1.0))
        direction = tip - pose[:3, :3] @ aside - port
    pose = frame_along(direction, roll, up=(0.0, 0.0, -1.0))
    pose[:3, 3] = port + pose[:3, 2] * (np.linalg.norm(direction) - local[2])
    return pose


def draw_port(profile: AnatomyProfile, view: View, distance: float, bearing: float, rng: Rng) -> Floats:
    """Outside the picture at its own depth, nearer to the camera than the bed; `bearing` 0 is right, pi/2 below."""
    rise = distance * (rng.uniform(0.75, 0.95) if profile.eye else rng.uniform(0.3, 0.8))
    out = view.corner * rise * rng.uniform(1.3, 2.2)
    return np.array([out * np.cos(bearing), out * np.sin(bearing), rise])

"""Smooth seeded motion: tips on wandering paths, shafts through a fixed port, wrists and jaws at work.

Everything is a function of time alone, so any frame can be computed without those before it.
"""

from dataclasses import dataclass

import numpy as np

from fedsurg.simulator.fields import Rng
from fedsurg.simulator.instruments import Instrument, Posture
from fedsurg.simulator.meshes import Floats, frame_along
from fedsurg.simulator.profiles import AnatomyProfile

ACTIVITIES = ("out_of_view", "idle", "exchange", "approach", "retract", "grasp", "suture", "coagulate", "cut")


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
class Handling:
    """How one instrument is moved during a clip.

    Attributes:
        port: point every shaft axis passes through, outside the picture, in camera coordinates.
        anchor: middle of the tip's path; sway: its extent per coordinate.
        retreat: how far (share of the way to the port) the instrument is drawn back between `leaves` seconds.
    """

    port: Floats
    anchor: Floats
    sway: Floats
    path: Wander
    joints: Wander
    roll: float
    retreat: float
    leaves: tuple[float, float]

    def activity(self, kind: str, time: float) -> str:
        """What an instrument of type `kind` does at `time` seconds: one of `ACTIVITIES`."""
        if self.retreat * _plateau(time, self.leaves) > 0.5:
            return "exchange"
        work = {"scissors": "cut", "hook": "coagulate", "needle_driver": "suture", "grasper": "grasp"}
        return work.get(kind, "idle")


def draw_handling(
    profile: AnatomyProfile, view: View, distance: float, bearing: float, duration: float, rng: Rng
) -> Handling:
    """Motion of an instrument that comes from the picture's side at `bearing` (radians, 0 right, pi/2 down)."""
    depth = distance * rng.uniform(*profile.reach)
    spread = 0.35 if profile.eye else 0.55
    spot = np.clip(rng.normal(0, spread * 0.6, 2), -spread, spread)
    anchor = np.array([spot[0] * view.half_width, spot[1] * view.half_height, 1.0]) * depth
    port = _port(profile, view, depth, bearing, rng)
    across = view.half_width * depth * rng.uniform(0.05, 0.45)
    sway = np.array([across, across, across * (0.1 if profile.eye else 0.5)])
    away = rng.random() < 0.12
    start = rng.uniform(0, max(duration, 0.1))
    return Handling(
        port=port,
        anchor=anchor,
        sway=sway,
        path=draw_wander(rng, 3, fastest_hz=0.35),
        joints=draw_wander(rng, 3, fastest_hz=0.6),
        roll=rng.uniform(0, 2 * np.pi),
        retreat=rng.uniform(0.7, 1.1) if away else 0.0,
        leaves=(start, start + rng.uniform(1.0, 4.0)),
    )


def _port(profile: AnatomyProfile, view: View, depth: float, bearing: float, rng: Rng) -> Floats:
    """Outside the picture at its own depth, nearer to the camera than the tip."""
    rise = depth * (rng.uniform(0.75, 0.97) if profile.eye else rng.uniform(0.3, 0.85))
    out = view.corner * rise * rng.uniform(1.25, 2.2)
    return np.array([out * np.cos(bearing), out * np.sin(bearing), rise])


def posture(handling: Handling, instrument: Instrument, time: float) -> Posture:
    """Where the instrument is at `time` seconds."""
    target = handling.anchor + handling.sway * handling.path.at(time)
    back = handling.retreat * _plateau(time, handling.leaves)
    target = target + back * (handling.port - target)
    direction = target - handling.port
    if back > 0.99:  # all the way out: the axis would vanish with the way to the port
        direction = handling.anchor - handling.port
    pose = frame_along(direction, handling.roll + 0.6 * handling.joints.at(time)[2])
    pose[:3, 3] = target - pose[:3, 2] * instrument.tip
    pitch, squeeze, yaw = handling.joints.at(time)
    low, high = instrument.gape
    opening = low + (high - low) * (0.5 + 0.5 * np.sin(3 * squeeze))
    return Posture(pose, instrument.bend * 1.4 * pitch, instrument.bend * yaw, float(opening))


def _plateau(time: float, between: tuple[float, float], ramp: float = 1.0) -> float:
    """Smooth 0 to 1 and back: 1 between the two times, with ramps of `ramp` seconds."""
    rise = np.clip((time - between[0]) / ramp, 0, 1)
    fall = np.clip((between[1] - time) / ramp, 0, 1)
    edge = min(rise, fall)
    return float(edge * edge * (3 - 2 * edge))

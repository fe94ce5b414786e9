"""The hand that holds the camera: it drifts, goes to another place or nearer, and is taken out to be wiped."""

from dataclasses import dataclass

import numpy as np

from fedsurg.simulator.fields import Rng
from fedsurg.simulator.meshes import Floats, rotation, translation
from fedsurg.simulator.motion import Wander, draw_wander

MOVES_PER_SECOND = 0.12
WIPES_PER_SECOND = 0.006
BLIND = 0.5  # veil from which on nothing can be made out


@dataclass(frozen=True, eq=False)
class Move:
    """From `start` on, for `seconds`, the camera goes to `target` (5,): x, y, z in millimetres, pitch, yaw."""

    start: float
    seconds: float
    target: Floats


@dataclass(frozen=True, eq=False)
class Camera:
    """Pose and veil of the camera as functions of time.

    Attributes:
        drift: the hand's, in 6 coordinates; reach: its size in millimetres.
        moves: in time, none before the end of the one before.
        wipes: times between which the camera is out of the body.
    """

    drift: Wander
    reach: float
    moves: tuple[Move, ...]
    wipes: tuple[tuple[float, float], ...]

    def pose(self, time: float) -> Floats:
        """4x4 at `time` seconds."""
        x, y, z, pitch, yaw, roll = self.drift.at(time)
        place = np.zeros(5)
        for move in self.moves:
            done = float(np.clip((time - move.start) / move.seconds, 0, 1))
            place = place + done * done * (3 - 2 * done) * (move.target - place)
        moved = translation(np.array([x, y, 0.5 * z]) * self.reach + place[:3])
        turned = rotation(0, 0.02 * pitch + place[3]) @ rotation(1, 0.02 * yaw + place[4]) @ rotation(2, 0.04 * roll)
        pose: Floats = moved @ turned
        return pose

    def wiped(self, time: float) -> float:
        """When the lens was last wiped before `time` seconds; minus infinity if it was not."""
        return max((middle for start, end in self.wipes if (middle := (start + end) / 2) <= time), default=-np.inf)

    def veil(self, time: float) -> float:
        """0 for a clear view, 1 for none at all."""
        return max((_plateau(time, *wipe) for wipe in self.wipes), default=0.0)


def draw_camera(rng: Rng, half_width: float, distance: float, duration: float) -> Camera:
    """A camera for a clip of `duration` seconds; the view is `half_width` millimetres wide to each side."""
    drift = draw_wander(rng, 6, fastest_hz=0.2)
    moves: list[Move] = []
    clock = rng.uniform(-4.0, 0.0)
    while (clock := clock + rng.exponential(1 / MOVES_PER_SECOND)) < duration:
        across, down, nearer = rng.normal(0, (0.08, 0.08, 0.1)) * (half_width, half_width, distance)
        seconds = rng.uniform(0.8, 2.5)
        moves.append(
            Move(
                clock,
                seconds,
                np.array([across, down, np.clip(nearer, -0.15 * distance, 0.2 * distance), *rng.normal(0, 0.03, 2)]),
            )
        )
        clock += seconds
    count = int(rng.poisson(WIPES_PER_SECOND * duration))
    starts = rng.uniform(0, duration, count)
    wipes = tuple((float(start), float(start + rng.uniform(0.4, 0.9))) for start in starts)
    return Camera(drift, 0.03 * half_width, tuple(moves), wipes)


def _plateau(time: float, start: float, end: float, ramp: float = 0.2) -> float:
    """Smooth 0 to 1 and back: above 0 between the two times, with ramps of `ramp` seconds."""
    edge = float(np.clip(min(time - start, end - time) / ramp, 0, 1))
    return edge * edge * (3 - 2 * edge)

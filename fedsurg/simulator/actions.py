"""What instruments do: approach, grasp, retract, cut and so on.

An action leads from one stance to another; its stroke moves on top of that and is zero at both ends.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fedsurg.simulator.fields import Rng
from fedsurg.simulator.profiles import Range

ACTIVITIES = ("out_of_view", "idle", "exchange", "approach", "retract", "grasp", "suture", "coagulate", "cut")


@dataclass(frozen=True)
class Stance:
    """What a hand does with an instrument at one moment; also the difference of two.

    Attributes:
        x, y: where the tip is, in half-widths and half-heights of the view.
        taken_x, taken_y: where the tissue was that the jaws hold.
        lift: of the tip above the tissue, a share of its distance to the camera; below 0 it presses.
        out: 0 at work, 1 drawn back to the port.
        opening: of the jaws, 0 to 1.
        pitch, yaw: of the wrist, -1 to 1; roll: about the shaft, radians.
        grip: 0 to 1, how firmly the jaws hold tissue.
    """

    x: float = 0.0
    y: float = 0.0
    taken_x: float = 0.0
    taken_y: float = 0.0
    lift: float = 0.0
    out: float = 0.0
    opening: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0
    grip: float = 0.0

    def plus(self, other: "Stance", share: float = 1.0) -> "Stance":
        """The stance moved by a share of `other`."""
        return Stance(**{name: mine + share * getattr(other, name) for name, mine in vars(self).items()})

    def towards(self, other: "Stance", share: float) -> "Stance":
        """The stance at `share` of the way to `other`."""
        return self.plus(other.plus(self, -1.0), share)


@dataclass(frozen=True)
class Workplace:
    """Where one hand works in a clip.

    Attributes:
        x, y: middle, in half-widths and half-heights of the view; spread: of its work around that.
        hover: range of the lift between actions.
        press: how deep it goes into tissue, a share of the distance; 0 where tissue is never touched.
    """

    x: float
    y: float
    spread: float
    hover: Range
    press: float

    def spot(self, now: Stance, rng: Rng, lift: float) -> Stance:
        """`now` moved to a new spot, with nothing held."""
        x, y = self.x + rng.normal(0, self.spread), self.y + rng.normal(0, self.spread)
        return replace(now, x=x, y=y, taken_x=x, taken_y=y, lift=lift, grip=0.0)

    def step(self, now: Stance, rng: Rng, lift: float) -> Stance:
        """`now` moved on a little along the tissue."""
        x, y = now.x + rng.normal(0, 0.3 * self.spread), now.y + rng.normal(0, 0.3 * self.spread)
        return replace(now, x=x, y=y, taken_x=x, taken_y=y, lift=lift)


def _swell(done: float) -> float:
    """0 to 1 and back to 0, smoothly, while `done` goes from 0 to 1."""
    return float(np.sin(np.pi * done) ** 2)


Goal = Callable[[Stance, Workplace, Rng], Stance]
Stroke = Callable[[float, float], Stance]  # of the share of the action that is done, and of a chance in [0, 1)


def _still(_done: float, _chance: float) -> Stance:
    return Stance()


@dataclass(frozen=True)
class Action:
    """What it counts as, how long it takes, the stance it ends in and the movement on the way."""

    activity: str
    seconds: Range
    goal: Goal
    stroke: Stroke = _still


def _approach(now: Stance, place: Workplace, rng: Rng) -> Stance:
    there = place.spot(now, rng, lift=rng.uniform(0.01, 0.05))
    return replace(_turned(there, rng), opening=rng.uniform(0.5, 1.0))


def _grasp(now: Stance, place: Workplace, rng: Rng) -> Stance:
    return replace(now, lift=-place.press, opening=rng.uniform(0.0, 0.1), grip=float(place.press > 0))


def _late_closing(done: float, _chance: float) -> Stance:
    return Stance(opening=0.5 * _swell(done))


def _retract(now: Stance, place: Workplace, rng: Rng) -> Stance:
    x, y = now.x + rng.normal(0, 0.12), now.y + rng.normal(0, 0.12)
    return replace(now, x=x, y=y, lift=rng.uniform(0.02, 0.13), pitch=now.pitch + rng.normal(0, 0.2))


def _release(now: Stance, place: Workplace, rng: Rng) -> Stance:
    return replace(_turned(now, rng), lift=rng.uniform(*place.hover), opening=rng.uniform(0.1, 0.7), grip=0.0)


def _work(now: Stance, place: Workplace, rng: Rng) -> Stance:
    return replace(place.step(now, rng, lift=-rng.uniform(0.3, 1.0) * place.press), grip=0.0)


def _snips(done: float, chance: float) -> Stance:
    """One to three closings of the blades."""
    return Stance(opening=0.45 * (1 - np.cos(2 * np.pi * (1 + int(3 * chance)) * done)))


def _dabs(done: float, chance: float) -> Stance:
    """Short strokes to and fro along the tissue."""
    way, there = 2 * np.pi * chance, 0.05 * _swell(done) * np.sin(2 * np.pi * (1 + int(3 * chance)) * done)
    return Stance(x=there * np.cos(way), y=there * np.sin(way), pitch=4 * there)


def _stitch(done: float, chance: float) -> Stance:
    """The needle goes in with a turn of the wrist, then the thread is drawn up."""
    turn, pull = _swell(min(done / 0.6, 1.0)), _swell(max(done / 0.4 - 1.5, 0.0))
    side = 1 if chance < 0.5 else -1
    return Stance(roll=1.9 * side * turn, lift=0.10 * pull, x=0.06 * side * turn, pitch=0.4 * turn)


def _leave(now: Stance, place: Workplace, rng: Rng) -> Stance:
    return replace(now, out=1.0, lift=rng.uniform(*place.hover), opening=0.0, grip=0.0, pitch=0.0, yaw=0.0)


def _stay(now: Stance, _place: Workplace, _rng: Rng) -> Stance:
    return now


def _enter(now: Stance, place: Workplace, rng: Rng) -> Stance:
    return replace(_turned(place.spot(now, rng, lift=rng.uniform(*place.hover)), rng), out=0.0)


def _turned(now: Stance, rng: Rng) -> Stance:
    """`now` with another wrist."""
    pitch, yaw = np.clip(rng.normal(0, 0.5, 2), -1, 1)
    return replace(now, pitch=float(pitch), yaw=float(yaw), roll=now.roll + rng.normal(0, 0.4))


ACTIONS: dict[str, Action] = {
    "approach": Action("approach", (0.5, 1.4), _approach),
    "grasp": Action("grasp", (0.4, 1.0), _grasp, _late_closing),
    "retract": Action("retract", (0.7, 2.5), _retract),
    "hold": Action("retract", (0.7, 3.0), _stay),
    "release": Action("idle", (0.5, 2.0), _release),
    "dwell": Action("idle", (0.8, 3.0), _work, _dabs),
    "cut": Action("cut", (0.8, 2.0), _work, _snips),
    "divide": Action("cut", (0.8, 2.5), _work, _dabs),
    "coagulate": Action("coagulate", (0.6, 2.0), _work, _dabs),
    "seal": Action("coagulate", (0.8, 2.0), _stay),
    "suture": Action("suture", (1.0, 2.8), _work, _stitch),
    "leave": Action("exchange", (0.7, 1.4), _leave),
    "away": Action("out_of_view", (0.8, 4.0), _stay),
    "enter": Action("exchange", (0.7, 1.4), _enter),
}

"""Scripts: the actions of an instrument one after the other, by its type.

A script is drawn once for a clip; what it says of a moment depends on the time alone, without jumps.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from fedsurg.simulator.actions import ACTIONS, Action, Stance, Workplace
from fedsurg.simulator.fields import Rng

EXCHANGE_SHARE = 0.08  # of rounds of work after which an instrument leaves for a while
EARLIEST = -4.0  # seconds before a clip at which its scripts may begin
TAKE = ("approach", "grasp", "retract", "hold", "release")
SEAL = ("approach", "grasp", "seal", "release")
CLOSE = ("approach", "grasp", "release")
ROUNDS: dict[str, tuple[tuple[str, ...], ...]] = {  # of work, by type of instrument
    "grasper": (TAKE, TAKE, ("approach", "dwell", "release")),
    "bipolar": (SEAL, SEAL, TAKE),
    "scissors": (("approach", "cut", "release"), ("approach", "cut", "cut", "release"), SEAL),
    "hook": (("approach", "coagulate", "release"), ("approach", "coagulate", "divide", "release")),
    "needle_driver": (("approach", "suture", "release"), ("approach", "suture", "suture", "release")),
    "clip_applier": (CLOSE, CLOSE, (*CLOSE, "leave", "away", "enter")),
    "stapler": (("approach", "grasp", "divide", "release"),),
    "suction": (("approach", "dwell", "release"), ("approach", "dwell", "dwell", "release")),
    "forceps": (TAKE, ("approach", "dwell", "release")),
    "probe": (("approach", "divide", "divide", "release"), ("approach", "dwell", "release")),
    "cannula": (("approach", "dwell", "release"),),
    "injector": (("approach", "dwell", "dwell", "release", "leave", "away", "enter"),),
}


@dataclass(frozen=True)
class Step:
    """An action between two times."""

    action: Action
    start: float
    end: float
    before: Stance
    after: Stance
    chance: float

    def at(self, time: float) -> Stance:
        """The stance at `time` seconds."""
        done = min(max((time - self.start) / (self.end - self.start), 0.0), 1.0)
        moved = self.before.towards(self.after, done * done * (3 - 2 * done))
        return moved.plus(self.action.stroke(done, self.chance))


@dataclass(frozen=True)
class Script:
    """Steps without gaps, in time."""

    steps: tuple[Step, ...]

    def at(self, time: float) -> tuple[str, Stance]:
        """The activity, one of `ACTIVITIES`, and the stance at `time` seconds."""
        index = bisect_right(self.steps, time, key=lambda step: step.start) - 1
        step = self.steps[max(index, 0)]
        return step.action.activity, step.at(time)


def draw_script(
    kind: str, place: Workplace, duration: float, rng: Rng, *, begins: float | None = None, ends: float | None = None
) -> Script:
    """What an instrument of type `kind` does during a clip of `duration` seconds.

    It comes in at `begins` and goes for good at `ends`, where they are given.
    """
    fresh = Stance(opening=rng.uniform(0, 0.5), roll=rng.uniform(0, 2 * np.pi))
    now = ACTIONS["enter"].goal(fresh, place, rng)
    clock, names = rng.uniform(EARLIEST, 0.0), _rounds(kind, rng)
    steps: list[Step] = []
    if begins is not None:
        now = ACTIONS["leave"].goal(now, place, rng)
        steps.append(Step(ACTIONS["away"], clock, begins, now, now, 0.0))
        clock, names = begins, chain(("enter",), names)
    while clock < min(duration, duration if ends is None else ends):
        action = ACTIONS[next(names)]
        steps.append(_step(action, clock, now, place, rng))
        clock, now = steps[-1].end, steps[-1].after
    if ends is not None:
        steps.append(_step(ACTIONS["leave"], clock, now, place, rng))
        steps.append(_step(ACTIONS["away"], steps[-1].end, steps[-1].after, place, rng))
    return Script(tuple(steps))


def _step(action: Action, start: float, now: Stance, place: Workplace, rng: Rng) -> Step:
    end = start + rng.uniform(*action.seconds)
    return Step(action, start, end, now, action.goal(now, place, rng), rng.random())


def _rounds(kind: str, rng: Rng) -> Iterator[str]:
    """Names of actions, for ever."""
    while True:
        yield from ROUNDS[kind][int(rng.integers(len(ROUNDS[kind])))]
        if rng.random() < EXCHANGE_SHARE:
            yield from ("leave", "away", "enter")

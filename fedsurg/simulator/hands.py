"""The surgeon's hands: fixed ports and instruments for a case, work around one site for a clip."""

from dataclasses import dataclass

import numpy as np

from fedsurg.files import derived_seed
from fedsurg.simulator.actions import Workplace
from fedsurg.simulator.designs import draw_instrument
from fedsurg.simulator.fields import Rng
from fedsurg.simulator.ground import Ground
from fedsurg.simulator.instruments import Instrument
from fedsurg.simulator.meshes import Floats
from fedsurg.simulator.motion import Handling, View, draw_port, draw_wander
from fedsurg.simulator.profiles import AnatomyProfile, Style
from fedsurg.simulator.scripts import draw_script

RELAY_SHARE = 0.15  # of ports through which a second instrument may follow the first


@dataclass(frozen=True, eq=False)
class Hand:
    """A port of a case and the instruments that go through it, one after the other."""

    port: Floats
    instruments: tuple[Instrument, ...]


def draw_hands(profile: AnatomyProfile, view: View, distance: float, rng: Rng, maker: int) -> list[Hand]:
    """The ports of a case, well apart, and their instruments, whose materials the seed `maker` decides."""
    count = 1 + int(rng.choice(len(profile.counts), p=profile.counts))
    from_below = profile.eye and rng.random() < 0.8  # where the surgeon of an eye sits
    bearing = rng.normal(np.pi / 2, 0.6) if from_below else rng.uniform(0, 2 * np.pi)
    radius, side = rng.uniform(*profile.radius_mm), rng.choice([-1, 1])
    hands = []
    for index in range(count):
        styles = _draw_styles(profile, 1 + int(rng.random() < RELAY_SHARE), rng)
        instruments = tuple(
            draw_instrument(style, radius, rng, np.random.default_rng(derived_seed("maker", maker, *style, index)))
            for style in styles
        )
        hands.append(Hand(draw_port(profile, view, distance, bearing, rng), instruments))
        bearing += side * rng.uniform(0.5, 2 * np.pi / count)
    return hands


def _draw_styles(profile: AnatomyProfile, count: int, rng: Rng) -> list[Style]:
    styles, weights = zip(*profile.instruments, strict=True)
    return [styles[int(k)] for k in rng.choice(len(styles), count, p=np.array(weights) / sum(weights))]


def draw_work(
    hands: list[Hand], profile: AnatomyProfile, ground: Ground, duration: float, rng: Rng
) -> list[tuple[Instrument, Handling]]:
    """What the hands do in one clip, around a common site; one hand may change its instrument."""
    site = np.clip(rng.normal(0, 0.2, 2), -0.4, 0.4)
    moving = []
    for hand in hands:
        x, y = np.clip(site + rng.normal(0, 0.15, 2), -0.55, 0.55)
        hover = (0.003, 0.03) if profile.eye else (0.02, 1 - profile.reach)
        place = Workplace(
            float(x), float(y), rng.uniform(0.05, 0.2), hover, 0.0 if profile.eye else rng.uniform(0.01, 0.04)
        )
        relay = rng.uniform(0, duration) if len(hand.instruments) > 1 and rng.random() < 0.5 else None
        first = draw_script(hand.instruments[0].kind, place, duration, rng, ends=relay)
        moving.append((hand.instruments[0], Handling(hand.port, first, draw_wander(rng, 5), ground)))
        if relay is not None:
            second = draw_script(hand.instruments[1].kind, place, duration, rng, begins=first.steps[-1].start)
            moving.append((hand.instruments[1], Handling(hand.port, second, draw_wander(rng, 5), ground)))
    return moving

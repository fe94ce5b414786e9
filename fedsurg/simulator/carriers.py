"""What carries the jaws: the wristed arm of a robot, or the straight shaft of laparoscopy.

Lengths are multiples of the shaft's radius `r`, in millimetres; see `instruments` for the resting position.
"""

from dataclasses import dataclass

import numpy as np

from fedsurg.simulator.fields import Rng
from fedsurg.simulator.finishes import Finish
from fedsurg.simulator.instruments import SHAFT_LENGTH, Piece
from fedsurg.simulator.mask_values import SHAFT, WRIST
from fedsurg.simulator.meshes import Mesh, joined, loft, rotation, translation
from fedsurg.simulator.solids import block, disc, turned


@dataclass(frozen=True, eq=False)
class Holder:
    """A shaft with its wrist.

    Attributes:
        pieces: of the shaft and the wrist.
        hinge: z of the joint where the jaws open.
        radius: of a shaft that the jaws would suit, millimetres.
        bend: largest wrist angle in radians, 0 for a straight one.
    """

    pieces: list[Piece]
    hinge: float
    radius: float
    bend: float


def robotic(r: float, finish: Finish, rng: Rng, *, sheath: float = 0.0) -> Holder:
    """A dark shaft, a bright housing with dark slots, and two crossed joints with pulleys and cables.

    `sheath` is the probability that a soft sleeve covers the wrist, as on monopolar instruments.
    """
    housing, wrist = rng.uniform(1.2, 2.6) * r, rng.uniform(1.3, 2.0) * r
    slim = rng.uniform(0.88, 0.98) * r
    outline = [
        (-housing, 1.02 * r),
        (-0.75 * housing, 1.02 * r),
        (-0.73 * housing, slim),
        (-0.8 * r, slim),
        (-0.6 * r, 0.7 * r),
    ]
    metal = [turned(outline), *_fork(r, 0, back=0.95)]
    pieces = [
        *_shaft(r, -housing, finish, rng),
        Piece(joined(metal), finish.metal, WRIST, "shaft"),
        Piece(_slots(slim, -0.7 * housing, -0.7 * r, rng), finish.dark, WRIST, "shaft"),
    ]
    if rng.random() < sheath:
        sleeve = [(-0.5 * r, 0.8 * r), (0.0, 0.9 * r), (0.6 * wrist, 0.75 * r), (wrist + 0.4 * r, 0.4 * r)]
        pieces.append(Piece(turned(sleeve), finish.accent, WRIST, "wrist"))
    else:
        pieces += _link(r, wrist, finish, rng)
    return Holder(pieces, wrist, r, rng.uniform(0.35, 1.1))


def straight(r: float, finish: Finish, rng: Rng, *, hinged: bool = True) -> Holder:
    """A rigid shaft that narrows to a slotted hinge, or to a plain neck."""
    neck, narrow = rng.uniform(1.0, 3.4) * r, rng.uniform(0.6, 1.0)
    outline = [(-neck, r), (-0.7 * neck, narrow * r), (-0.2 * r, narrow * r), (0.3 * r, 0.5 * narrow * r)]
    material = finish.metal if rng.random() < 0.7 else finish.shaft
    pieces = [
        *_shaft(r, -neck, finish, rng),
        Piece(turned(outline), material, WRIST, "shaft"),
    ]
    if hinged:
        pin, slot = disc((0, 0, 0), 1, 0.3 * narrow * r, 2.04 * narrow * r), (0.16 * r, 1.01 * narrow * r, 0.3 * neck)
        pieces.append(Piece(pin, finish.metal, WRIST, "shaft"))
        pieces.append(Piece(block((0, 0, -0.2 * neck), slot), finish.dark, WRIST, "shaft"))
    return Holder(pieces, 0.0, r * (0.5 + 0.5 * narrow), 0.0)


def rod(r: float, finish: Finish, rng: Rng) -> Holder:
    """A plain shaft without a hinge."""
    return Holder(_shaft(r, 0.0, finish, rng), 0.0, r, 0.0)


def _shaft(r: float, end: float, finish: Finish, rng: Rng) -> list[Piece]:
    """The rod, some with bands near its end."""
    pieces = [Piece(turned([(-SHAFT_LENGTH, r), (end, r)]), finish.shaft, SHAFT, "shaft")]
    if rng.random() < 0.45:
        starts = end - rng.uniform(0.3, 4.0) * r - np.arange(int(rng.integers(1, 3))) * rng.uniform(0.8, 2.0) * r
        wide = rng.uniform(0.1, 0.7) * r
        bands = [disc((0, 0, start), 2, 1.015 * r, wide) for start in starts]
        pieces.append(Piece(joined(bands), finish.accent, SHAFT, "shaft"))
    return pieces


def _fork(r: float, axis: int, *, back: float) -> list[Mesh]:
    """Two broad arms that hold a joint about `axis` (0 or 1) at the origin; they begin `back` radii behind it."""
    z = np.array([-back, -0.4, 0.0, 0.35, 0.58]) * r
    thick, wide = np.array([0.3, 0.2, 0.16, 0.14, 0.08]) * r, np.array([0.8, 0.74, 0.64, 0.5, 0.15]) * r
    arms = []
    for side in (-1, 1):
        path = np.stack([side * np.array([0.58, 0.66, 0.68, 0.68, 0.66]) * r, 0 * z, z], axis=1)
        arm = loft(path, np.stack([thick, wide], axis=1), power=5, sides=12)
        pin = disc((side * 0.82 * r, 0, 0), 0, 0.24 * r, 0.1 * r)
        arms += [part.moved(rotation(2, axis * np.pi / 2)) for part in (arm, pin)]
    return arms


def _slots(r: float, start: float, end: float, rng: Rng) -> Mesh:
    """Dark openings around a housing between two z."""
    count, wide = int(rng.integers(2, 5)), rng.uniform(0.12, 0.3) * r
    long, middle = 0.5 * (end - start) * rng.uniform(0.4, 0.9), 0.5 * (start + end)
    slot = block((0, 0.93 * r, middle), (wide, 0.1 * r, max(long, 0.05 * r)))
    turn = rng.uniform(0, 2 * np.pi)
    return joined([slot.moved(rotation(2, turn + 2 * np.pi * k / count)) for k in range(count)])


def _link(r: float, length: float, finish: Finish, rng: Rng) -> list[Piece]:
    """The part between both joints: a stout body with a fork of its own, pulleys, pins and cables."""
    slim = rng.uniform(0.72, 0.9)
    width, depth = 0.46 * r, rng.uniform(0.55, 0.72) * r
    z = np.array([-0.55 * r, -0.2 * r, 0.25 * r, length - 0.7 * r * slim])
    body = loft(
        np.stack([0 * z, 0 * z, z], axis=1),
        [(0.42 * r, 0.3 * r), (width, depth), (width, depth), (0.9 * width, 0.95 * depth)],
        power=5,
        sides=12,
    )
    fork = [arm.moved(translation((0, 0, length))) for arm in _fork(slim * r, 1, back=min(0.95, length / r - 0.3))]
    bolts = [disc((0, side * 0.9 * slim * r, length), 1, 0.17 * r, 0.06 * r) for side in (-1, 1)]
    pulleys = [disc((side * 0.5 * r, 0, 0), 0, 0.56 * r, 0.06 * r) for side in (-1, 1)]
    drums = [disc((0, side * 0.36 * slim * r, length), 1, 0.46 * r, 0.14 * r) for side in (-1, 1)]
    runs = [(side, up) for side in (-1, 1) for up in (-1, 1)]
    cables = [block((a * 0.2 * r, b * 0.98 * depth, length / 2), (0.05 * r, 0.07 * r, 0.45 * length)) for a, b in runs]
    inner = finish.accent if rng.random() < 0.5 else finish.dark
    return [
        Piece(joined([body, *fork]), finish.metal, WRIST, "wrist"),
        Piece(joined([*pulleys, *drums]), inner, WRIST, "wrist"),
        Piece(joined([*cables, *bolts]), finish.dark, WRIST, "wrist"),
    ]

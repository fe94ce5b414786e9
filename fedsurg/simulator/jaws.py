"""The working ends of instruments: two jaws, a hook or a tube, at a hinge on the z axis.

Lengths are multiples of the holder's radius `r`, in millimetres. Jaws open in the x-z plane.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fedsurg.simulator.fields import Rng
from fedsurg.simulator.finishes import Finish
from fedsurg.simulator.instruments import Joint, Piece
from fedsurg.simulator.mask_values import BACKGROUND, CLASPER, SHAFT
from fedsurg.simulator.materials import Material
from fedsurg.simulator.meshes import Mesh, joined, loft
from fedsurg.simulator.solids import block, disc, turned

SIDES: tuple[tuple[Joint, int], ...] = (("jaw_a", 1), ("jaw_b", -1))
CLIP_COLOURS = ((0.8, 0.8, 0.76), (0.28, 0.12, 0.45), (0.55, 0.56, 0.58), (0.1, 0.35, 0.3))


@dataclass(frozen=True, eq=False)
class End:
    """A working end: its pieces relative to the hinge, how far it reaches, how wide it opens (radians)."""

    pieces: list[Piece]
    length: float
    gape: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Blade:
    """Proportions of one jaw: length, half-width (y) and half-thickness (x) at its root, outward curve, kind."""

    length: float
    width: float
    thick: float
    curve: float = 0.0
    kind: str = "plain"


def grasper(r: float, long: float, finish: Finish, rng: Rng) -> End:
    """Plain, curved, windowed or toothed jaws."""
    kind = str(rng.choice(["plain", "window", "teeth"], p=[0.4, 0.35, 0.25]))
    curve = 0.0 if kind == "window" else rng.uniform(-0.3, 0.5)
    blade = Blade(
        long * rng.uniform(1.9, 4.2) * r, rng.uniform(0.24, 0.48) * r, rng.uniform(0.15, 0.28) * r, curve, kind
    )
    return End(_jaws(blade, finish, r), blade.length, (0.02, rng.uniform(0.35, 1.1)))


def bipolar(r: float, long: float, finish: Finish, rng: Rng) -> End:
    """Curved or windowed jaws that leave an insulating sleeve."""
    window = rng.random() < 0.5
    blade = Blade(long * rng.uniform(2.2, 3.8) * r, rng.uniform(0.24, 0.4) * r, 0.17 * r, 0.0 if window else 0.35)
    pieces = _jaws(replace(blade, kind="window" if window else "plain"), finish, r)
    for joint, side in SIDES:
        reach = 0.3 * blade.length
        sleeve = block(
            (side * 1.1 * blade.thick, 0, 0.6 * reach), (1.25 * blade.thick, 1.25 * blade.width, 0.6 * reach)
        )
        pieces.append(Piece(sleeve, finish.accent, CLASPER, joint))
    return End(pieces, blade.length, (0.02, rng.uniform(0.4, 0.9)))


def scissors(r: float, long: float, finish: Finish, rng: Rng) -> End:
    """Two thin blades side by side, straight or curved, shearing past each other."""
    length, deep = long * rng.uniform(2.0, 3.4) * r, rng.uniform(0.2, 0.36) * r
    thin, curve = rng.uniform(0.06, 0.11) * r, rng.uniform(0.0, 0.3) * length
    along = np.linspace(0, 1, 7)
    pieces = []
    for joint, side in SIDES:
        taper = np.maximum(deep * (1 - 0.85 * along**1.3), 0.03 * r)
        path = np.stack([side * 0.8 * taper, side * 1.05 * thin + curve * along**2, along * length], axis=1)
        blade = loft(path, np.stack([taper, np.full(7, thin)], axis=1), power=6, sides=8)
        pieces += [Piece(blade, finish.jaw, CLASPER, joint), _root(r, joint, side, finish.metal)]
    return End(pieces, length, (0.02, rng.uniform(0.5, 1.0)))


def needle_driver(r: float, long: float, finish: Finish, rng: Rng) -> End:
    """Short stout jaws with dark inserts, often with a curved needle between them."""
    blade = Blade(
        long * rng.uniform(1.5, 2.6) * r, rng.uniform(0.26, 0.4) * r, rng.uniform(0.24, 0.36) * r, kind="teeth"
    )
    pieces = _jaws(blade, finish, r)
    for joint, side in SIDES:
        insert = block(
            (side * 0.1 * blade.thick, 0, 0.62 * blade.length),
            (0.14 * blade.thick, 0.8 * blade.width, 0.36 * blade.length),
        )
        pieces.append(Piece(insert, finish.dark, CLASPER, joint))
    if rng.random() < 0.65:
        angle = np.linspace(-rng.uniform(0.3, 0.9), rng.uniform(1.4, 2.6), 14)
        bow = rng.uniform(1.3, 2.4) * r
        arc = np.stack([0 * angle, bow * np.sin(angle), 0.85 * blade.length + bow * (1 - np.cos(angle))], axis=1)
        wire = np.linspace(0.1, 0.03, 14)[:, None] * r * np.ones(2)
        pieces.append(Piece(loft(arc, wire, sides=6, up=(1.0, 0.0, 0.0)), finish.metal, BACKGROUND, "jaw_a"))
    return End(pieces, blade.length, (0.02, rng.uniform(0.3, 0.6)))


def clip_applier(r: float, long: float, finish: Finish, rng: Rng) -> End:
    """Two bowed arms that close over a clip."""
    length, thin = long * rng.uniform(2.0, 3.2) * r, rng.uniform(0.14, 0.22) * r
    along = np.linspace(0, 1, 8)
    bow = rng.uniform(0.25, 0.5) * r * np.sin(np.pi * np.minimum(1.2 * along, 1.0) * 0.8)
    pieces = []
    for joint, side in SIDES:
        path = np.stack([side * (thin + bow), 0 * along, along * length], axis=1)
        arm = loft(path, [(thin, 0.3 * r)] * 6 + [(1.2 * thin, 0.36 * r)] * 2, power=5, sides=10)
        pieces += [Piece(arm, finish.jaw, CLASPER, joint), _root(r, joint, side, finish.metal)]
    if rng.random() < 0.7:
        colour = CLIP_COLOURS[int(rng.integers(len(CLIP_COLOURS)))]
        legs = [block((0.12 * r * side, 0, 0.86 * length), (0.07 * r, 0.16 * r, 0.2 * length)) for side in (-1, 1)]
        back = block((0, 0, 0.68 * length), (0.18 * r, 0.16 * r, 0.05 * length))
        pieces.append(Piece(joined([*legs, back]), Material("plastic", colour, 0.2), BACKGROUND, "wrist"))
    return End(pieces, length, (0.1, rng.uniform(0.3, 0.6)))


def stapler(r: float, long: float, finish: Finish, rng: Rng) -> End:
    """Two long blunt jaws, one of them slotted."""
    length = rng.uniform(5.5, 9.0) * r
    pieces = []
    for (joint, side), material in zip(SIDES, (finish.shaft, finish.metal), strict=True):
        z = np.array([0.0, 0.9, 1.0]) * length
        path = np.stack([side * r * np.array([0.5, 0.5, 0.35]), 0 * z, z], axis=1)
        body = loft(path, [(0.47 * r, 0.95 * r)] * 2 + [(0.2 * r, 0.5 * r)], power=3.5)
        pieces.append(Piece(body, material, CLASPER, joint))
    slots = [block((1.0 * r, 0.3 * r * k, 0.5 * length), (0.04 * r, 0.08 * r, 0.33 * length)) for k in (-1, 0, 1)]
    return End([*pieces, Piece(joined(slots), finish.dark, CLASPER, "jaw_a")], length, (0.0, rng.uniform(0.1, 0.3)))


def hook(r: float, long: float, finish: Finish, rng: Rng) -> End:
    """A cautery hook or spatula: a bent wire that leaves an insulating sleeve."""
    length, thin = long * rng.uniform(2.0, 4.5) * r, rng.uniform(0.12, 0.24) * r
    bend = rng.uniform(0.4, 1.3) * r if rng.random() < 0.8 else 0.02 * r
    path = [
        (0, 0, 0),
        (0, 0, 0.78 * length),
        (0.12 * bend, 0, 0.95 * length),
        (bend, 0, length),
        (1.35 * bend, 0, 0.88 * length),
    ]
    wide = thin if bend > 0.1 * r else 3 * thin
    sizes = [(thin, thin)] * 2 + [(thin, wide)] * 2 + [(0.6 * thin, 0.6 * wide)]
    sleeve = [(-0.3 * r, 0.6 * r), (0.2 * r, 0.5 * r), (0.25 * length, 2.2 * thin), (0.55 * length, 1.9 * thin)]
    pieces = [
        Piece(turned(sleeve, sides=12), finish.accent, CLASPER, "jaw_a"),
        Piece(loft(path, sizes, sides=8), finish.metal, CLASPER, "jaw_a"),
    ]
    return End(pieces, length)


def suction(r: float, long: float, finish: Finish, rng: Rng) -> End:
    """A tube with side holes near its round tip."""
    length, wide = long * rng.uniform(2.5, 5.0) * r, rng.uniform(0.6, 0.95) * r
    outline = [(-0.4 * r, wide), (length - 0.5 * wide, wide), (length - 0.1 * wide, 0.85 * wide), (length, 0.6 * wide)]
    mouth = disc((0, 0, length), 2, 0.45 * wide, 0.04 * r)
    steps = [(s, length - (k + 0.8) * 1.2 * wide) for k in range(int(rng.integers(1, 4))) for s in (-1, 1)]
    holes = [disc((0, s * 0.93 * wide, z), 1, 0.28 * wide, 0.18 * wide) for s, z in steps]
    tube = finish.metal if rng.random() < 0.5 else finish.shaft
    return End(
        [
            Piece(turned(outline), tube, SHAFT, "jaw_a"),
            Piece(joined([mouth, *holes]), finish.dark, SHAFT, "jaw_a"),
        ],
        length,
    )


ENDS: dict[str, Callable[[float, float, Finish, Rng], End]] = {
    "grasper": grasper,
    "bipolar": bipolar,
    "scissors": scissors,
    "needle_driver": needle_driver,
    "clip_applier": clip_applier,
    "stapler": stapler,
    "hook": hook,
    "suction": suction,
}


def _jaws(blade: Blade, finish: Finish, r: float) -> list[Piece]:
    pieces = []
    for joint, side in SIDES:
        pieces += [Piece(_jaw(blade, side), finish.jaw, CLASPER, joint), _root(r, joint, side, finish.metal)]
    return pieces


def _root(r: float, joint: Joint, side: int, material: Material) -> Piece:
    return Piece(disc((0, side * 0.2 * r, 0), 1, 0.42 * r, 0.3 * r), material, CLASPER, joint)


def _jaw(blade: Blade, side: int) -> Mesh:
    """One jaw along +z whose inner face is at x = 0; `side` +1 or -1 mirrors it."""
    if blade.kind == "window":
        return _bow(blade, side)
    along = np.linspace(0, 1, 8)
    taper = 1 - 0.65 * along**1.5
    x = side * (blade.thick * taper + blade.curve * blade.length * 0.25 * along**2)
    path = np.stack([x, np.zeros(8), along * blade.length], axis=1)
    body = loft(path, np.stack([blade.thick * taper, blade.width * taper], axis=1), power=4, sides=12)
    if blade.kind == "plain":
        return body
    half = (blade.thick * 0.3, blade.width * 0.75, blade.length * 0.025)
    return joined([body, *(block((0, 0, at), half) for at in np.linspace(0.25, 0.9, 6) * blade.length)])


def _bow(blade: Blade, side: int) -> Mesh:
    """A fenestrated jaw: a closed bow around a window."""
    angle = np.linspace(-0.5 * np.pi, 1.5 * np.pi, 17)
    wide, long = blade.width * 1.2, blade.length * 0.5
    path = np.stack([np.full(17, side * blade.thick), wide * np.cos(angle), long * (1 + np.sin(angle))], axis=1)
    return loft(path, [(blade.width * 0.32, blade.thick)] * 17, up=(1.0, 0.0, 0.0), sides=8, power=4)

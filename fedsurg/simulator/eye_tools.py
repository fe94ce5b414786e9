"""Designs of instruments for the eye: thin, bright, rigid. Lengths in millimetres; see `designs`."""

import numpy as np

from fedsurg.simulator.fields import Rng
from fedsurg.simulator.finishes import draw_finish
from fedsurg.simulator.instruments import CLASPER, SHAFT, SHAFT_LENGTH, WRIST, Instrument, Joint, Piece
from fedsurg.simulator.materials import Material
from fedsurg.simulator.meshes import lathe, loft


def probe(r: float, rng: Rng, maker: Rng) -> Instrument:
    """An eye handpiece: a needle, perhaps in a sleeve, that widens to a handle."""
    finish = draw_finish(maker, bright=0.8)
    needle, cone, handle = rng.uniform(7, 26), rng.uniform(2, 8), r * rng.uniform(2, 6)
    sleeve = finish.accent if rng.random() < 0.4 else finish.metal
    back = [(-SHAFT_LENGTH, handle), (-needle - cone, handle), (-needle, 1.2 * r), (-needle, 1.2 * r)]
    pieces = [
        Piece(lathe(back), finish.shaft, SHAFT, "shaft"),
        Piece(lathe([(-needle, r), (-1.5, 0.9 * r), (-1.5, 0.9 * r)]), sleeve, WRIST, "shaft"),
        Piece(lathe([(-1.5, 0.6 * r), (0, 0.5 * r)]), finish.metal, CLASPER, "shaft"),
    ]
    return Instrument("probe", pieces, r, 0.0, 0.0, 0.0, (0.0, 0.0))


def forceps(r: float, rng: Rng, maker: Rng) -> Instrument:
    """Eye forceps: two slim legs that meet at the tip."""
    finish = draw_finish(maker, bright=0.9)
    legs, slim = rng.uniform(14, 24), r * rng.uniform(0.5, 0.9)
    wide = slim * rng.uniform(1.0, 2.2)
    spread = rng.uniform(0.02, 0.05)
    pieces: list[Piece] = []
    joints: tuple[tuple[Joint, int], ...] = (("jaw_a", 1), ("jaw_b", -1))
    for joint, side in joints:
        bow = [(side * (slim * 0.6 + spread * legs * 0.6 * s * (1 - s) * 4), 0, legs * s) for s in np.linspace(0, 1, 7)]
        front, back = bow[4:], bow[:5]
        pieces.append(Piece(loft(back, [(slim, wide)] * 5, sides=8), finish.metal, WRIST, joint))
        sizes = [(slim * s, wide * s) for s in (1.0, 0.7, 0.35)]
        pieces.append(Piece(loft(front, sizes, sides=8), finish.metal, CLASPER, joint))
    rod = lathe([(-SHAFT_LENGTH, 2.5 * wide), (-legs, 2.0 * wide), (-legs, 2.0 * wide), (-legs + 1, 1.2 * wide)])
    pieces.append(Piece(rod, finish.shaft, SHAFT, "shaft"))
    return Instrument("forceps", pieces, r, -legs, 0.0, 0.0, (0.0, rng.uniform(0.03, 0.16)))


def cannula(r: float, rng: Rng, maker: Rng) -> Instrument:
    """A thin bent tube."""
    finish = draw_finish(maker, bright=0.8)
    thin, tip, bend = r * rng.uniform(0.5, 0.9), rng.uniform(4, 10), rng.uniform(0.1, 0.9)
    joint = (-np.sin(bend) * tip, 0.0, -np.cos(bend) * tip)
    neck = (joint[0], 0.0, joint[2] - rng.uniform(8, 18))
    pieces = [
        Piece(
            loft([joint, (0, 0, 0)], [(thin, thin), (thin * 0.8,) * 2], sides=10),
            finish.metal,
            CLASPER,
            "shaft",
        ),
        Piece(loft([neck, joint], [(thin * 1.1,) * 2] * 2, sides=10), finish.metal, WRIST, "shaft"),
        Piece(loft([(neck[0], 0, -SHAFT_LENGTH), neck], [(thin * 2.5,) * 2] * 2), finish.shaft, SHAFT, "shaft"),
    ]
    return Instrument("cannula", pieces, r, 0.0, 0.0, 0.0, (0.0, 0.0))


def injector(r: float, rng: Rng, maker: Rng) -> Instrument:
    """A lens injector: wide pale plastic with a narrowing nozzle and a coloured plunger inside."""
    finish = draw_finish(maker, bright=1.0)
    pale = Material("plastic", (0.45, 0.5, 0.5) if rng.random() < 0.7 else (0.2, 0.45, 0.6), 0.12)
    wide, nozzle = r * rng.uniform(3, 5), rng.uniform(4, 9)
    pieces = [
        Piece(lathe([(-SHAFT_LENGTH, wide), (-nozzle - 6, wide), (-nozzle - 2, 1.6 * r)]), pale, SHAFT, "shaft"),
        Piece(lathe([(-nozzle - 2, 1.6 * r), (-nozzle, 1.5 * r)]), finish.accent, WRIST, "shaft"),
        Piece(lathe([(-nozzle, 1.4 * r), (0, 1.0 * r)]), pale, CLASPER, "shaft"),
    ]
    return Instrument("injector", pieces, r, 0.0, 0.0, 0.0, (0.0, 0.0))

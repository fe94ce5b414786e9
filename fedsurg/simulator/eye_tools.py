"""Instruments for the eye: thin, bright, rigid. Lengths in millimetres; see `instruments` for the resting position."""

import numpy as np

from fedsurg.simulator.fields import Rng
from fedsurg.simulator.finishes import draw_finish
from fedsurg.simulator.instruments import SHAFT_LENGTH, Instrument, Joint, Piece
from fedsurg.simulator.mask_values import CLASPER, SHAFT, WRIST
from fedsurg.simulator.materials import Material
from fedsurg.simulator.meshes import joined, loft
from fedsurg.simulator.solids import block, disc, turned

SLEEVES = ((0.05, 0.3, 0.55), (0.1, 0.45, 0.5), (0.65, 0.42, 0.12), (0.75, 0.75, 0.72))  # blue, teal, gold, white


def probe(r: float, rng: Rng, maker: Rng) -> Instrument:
    """A handpiece: a needle, often in a soft sleeve, that widens to a broad handle."""
    finish = draw_finish(maker, bright=0.55)
    needle, cone, handle = rng.uniform(7, 22), rng.uniform(3, 8), r * rng.uniform(3, 7)
    sleeved = maker.random() < 0.6
    sleeve = Material("plastic", SLEEVES[int(maker.integers(len(SLEEVES)))], 0.15) if sleeved else finish.metal
    bare = rng.uniform(1.0, 2.5)
    back = [(-SHAFT_LENGTH, handle), (-needle - cone, handle), (-needle - 0.4 * cone, 0.6 * handle), (-needle, 1.3 * r)]
    ribs = [disc((0, 0, z), 2, 1.04 * handle, 0.4) for z in -needle - cone - 1.2 * np.arange(1, 5)]
    pieces = [
        Piece(turned(back), finish.shaft, SHAFT, "shaft"),
        Piece(joined(ribs), finish.dark, SHAFT, "shaft"),
        Piece(turned([(-needle, 1.15 * r), (-bare - 1, r), (-bare, 0.8 * r)], sides=14), sleeve, WRIST, "shaft"),
        Piece(turned([(-bare, 0.6 * r), (0, 0.6 * r)], sides=12), finish.metal, CLASPER, "shaft"),
        Piece(disc((0, 0, 0), 2, 0.45 * r, 0.05 * r), finish.dark, CLASPER, "shaft"),
    ]
    return Instrument("probe", pieces, r, 0.0, 0.0, 0.0, (0.0, 0.0))


def forceps(r: float, rng: Rng, maker: Rng) -> Instrument:
    """Two slim legs that meet at the tip, bent or straight."""
    finish = draw_finish(maker, bright=0.65)
    legs, slim = rng.uniform(14, 24), r * rng.uniform(0.5, 0.9)
    wide = slim * rng.uniform(1.0, 2.2)
    spread, bend = rng.uniform(0.02, 0.05), rng.uniform(0.0, 0.12) * legs
    s = np.linspace(0, 1, 9)
    pieces: list[Piece] = []
    joints: tuple[tuple[Joint, int], ...] = (("jaw_a", 1), ("jaw_b", -1))
    for joint, side in joints:
        apart = side * (slim * 0.6 + spread * legs * 0.6 * s * (1 - s) * 4)
        bow = np.stack([apart, bend * np.clip(s - 0.7, 0, None) / 0.3, legs * s], axis=1)
        taper = np.interp(s, [0, 0.7, 1], [1, 0.9, 0.35])[:, None] * (slim, wide)
        pieces.append(Piece(loft(bow[:6], taper[:6], sides=8), finish.metal, WRIST, joint))
        pieces.append(Piece(loft(bow[5:], taper[5:], sides=8), finish.metal, CLASPER, joint))
    rod = [(-SHAFT_LENGTH, 2.5 * wide), (-legs, 2.0 * wide), (-legs + 1, 1.2 * wide)]
    pieces.append(Piece(turned(rod), finish.shaft, SHAFT, "shaft"))
    return Instrument("forceps", pieces, r, -legs, 0.0, 0.0, (0.0, rng.uniform(0.03, 0.16)))


def cannula(r: float, rng: Rng, maker: Rng) -> Instrument:
    """A thin bent tube on a hub."""
    finish = draw_finish(maker, bright=0.55)
    thin, tip, bend = r * rng.uniform(0.5, 0.9), rng.uniform(4, 10), rng.uniform(0.1, 0.9)
    joint = (-np.sin(bend) * tip, 0.0, -np.cos(bend) * tip)
    neck = (joint[0], 0.0, joint[2] - rng.uniform(8, 18))
    hub = (joint[0], 0.0, neck[2] - rng.uniform(2, 5))
    back = [(joint[0], 0.0, -SHAFT_LENGTH), hub, neck]
    wide = thin * rng.uniform(2.5, 5.0)
    pieces = [
        Piece(loft([joint, (0, 0, 0)], [(thin, thin), (thin * 0.8,) * 2], sides=10), finish.metal, CLASPER, "shaft"),
        Piece(loft([neck, joint], [(thin * 1.1,) * 2] * 2, sides=10), finish.metal, WRIST, "shaft"),
        Piece(loft(back, [(wide, wide), (wide, wide), (1.3 * thin,) * 2]), finish.shaft, SHAFT, "shaft"),
    ]
    return Instrument("cannula", pieces, r, 0.0, 0.0, 0.0, (0.0, 0.0))


def injector(r: float, rng: Rng, maker: Rng) -> Instrument:
    """A lens injector: wide pale plastic with wings, a narrowing nozzle and a coloured plunger."""
    finish = draw_finish(maker, bright=0.7)
    pale = Material("plastic", (0.45, 0.5, 0.5) if maker.random() < 0.6 else (0.1, 0.4, 0.55), 0.12)
    wide, nozzle = r * rng.uniform(3, 5), rng.uniform(4, 9)
    back = [(-SHAFT_LENGTH, wide), (-nozzle - 6, wide), (-nozzle - 2, 1.6 * r)]
    wings = block((0, 0, -nozzle - 9), (1.7 * wide, 0.3 * wide, 2.0))
    pieces = [
        Piece(turned(back), pale, SHAFT, "shaft"),
        Piece(wings, pale, SHAFT, "shaft"),
        Piece(turned([(-nozzle - 2, 1.6 * r), (-nozzle, 1.5 * r)]), finish.accent, WRIST, "shaft"),
        Piece(turned([(-nozzle, 1.4 * r), (0, 1.0 * r)]), pale, CLASPER, "shaft"),
    ]
    return Instrument("injector", pieces, r, 0.0, 0.0, 0.0, (0.0, 0.0))

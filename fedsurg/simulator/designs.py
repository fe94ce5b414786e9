"""Designs of instruments: each function builds one style with proportions of its own.

Lengths are multiples of the shaft's radius `r`, in millimetres; see `instruments` for the resting position.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedsurg.simulator import eye_tools
from fedsurg.simulator.fields import Rng
from fedsurg.simulator.finishes import Finish, draw_finish
from fedsurg.simulator.instruments import CLASPER, SHAFT, SHAFT_LENGTH, WRIST, Instrument, Joint, Piece
from fedsurg.simulator.materials import Material
from fedsurg.simulator.meshes import Mesh, bar, disc, joined, lathe, loft
from fedsurg.simulator.profiles import Style

PRINT_LENGTH = 110.0


@dataclass(frozen=True)
class Jaw:
    """Proportions of one jaw: length, half-width and half-thickness at its root, curvature, kind."""

    length: float
    width: float
    thick: float
    curve: float
    kind: str


def draw_instrument(style: Style, radius: float, rng: Rng, maker: Rng) -> Instrument:
    """An instrument of a style: proportions drawn from `rng`, materials from `maker`."""
    builders: dict[Style, Callable[[float, Rng, Rng], Instrument]] = {
        "robotic": _robotic,
        "straight": _straight,
        "stapler": _stapler,
        "hook": _hook,
        "tube": _tube,
        "probe": eye_tools.probe,
        "forceps": eye_tools.forceps,
        "cannula": eye_tools.cannula,
        "injector": eye_tools.injector,
    }
    return builders[style](radius, rng, maker)


def _robotic(r: float, rng: Rng, maker: Rng) -> Instrument:
    finish = draw_finish(maker, bright=0.3)
    wrist = rng.uniform(1.4, 2.6) * r
    collar = rng.uniform(0.8, 2.2) * r
    jaw = _draw_jaw(r, rng)
    pieces = [
        Piece(_rod(r, -SHAFT_LENGTH, -collar - 0.4 * r), finish.shaft, SHAFT, "shaft"),
        Piece(_collar(r, collar, rng), finish.metal, WRIST, "shaft"),
        *_wrist_block(r, wrist, finish, rng),
        *_jaws(jaw, finish.jaw, finish.metal, r),
    ]
    return Instrument(
        "grasper", pieces, r, wrist, wrist + jaw.length, rng.uniform(0.3, 1.1), (0.02, rng.uniform(0.3, 1.1))
    )


def _collar(r: float, length: float, rng: Rng) -> Mesh:
    """Stepped metal ring between shaft and wrist, with two prongs that hold the joint."""
    step = rng.uniform(0.86, 1.0)
    back = -length - 0.4 * r
    outline = [
        (back, 1.03 * r),
        (back, 1.03 * r),
        (back + 0.5 * length, 1.03 * r),
        (back + 0.5 * length, 1.03 * r),
    ]
    outline += [
        (back + 0.5 * length, step * r),
        (back + 0.5 * length, step * r),
        (-0.5 * r, step * r),
        (-0.1 * r, 0.7 * r),
    ]
    prongs = [
        bar((side * 0.62 * r, 0, -0.6 * r), (side * 0.62 * r, 0, 0.55 * r), (0.18 * r, 0.6 * r)) for side in (-1, 1)
    ]
    return joined([lathe(outline), *prongs])


def _wrist_block(r: float, length: float, finish: Finish, rng: Rng) -> list[Piece]:
    """The moving block: a tapering body, pulleys at both joints, cables and bolts."""
    width, depth = rng.uniform(0.42, 0.62) * r, rng.uniform(0.5, 0.8) * r
    body = loft(
        [(0, 0, -0.3 * r), (0, 0, 0.2 * r), (0, 0, 0.7 * length), (0, 0, length + 0.3 * r)],
        [(0.4 * r, 0.5 * r), (width, depth), (width * 0.9, depth), (width * 0.6, depth * 0.6)],
        power=5,
    )
    pulleys = [disc((side * 0.5 * r, 0, 0), 0, 0.55 * r, 0.2 * r) for side in (-1, 1)]
    bolts = [disc((side * 0.82 * r, 0, 0), 0, 0.25 * r, 0.12 * r) for side in (-1, 1)]
    cheeks = [disc((0, side * 0.72 * r, length), 1, 0.5 * r, 0.16 * r) for side in (-1, 1)]
    cables = [bar((s * 0.3 * r, 0.55 * r, 0), (s * 0.3 * r, 0.5 * r, length), (0.07 * r, 0.07 * r)) for s in (-1, 1)]
    inner = finish.accent if rng.random() < 0.6 else finish.dark
    return [
        Piece(joined([body, *bolts, *cheeks]), finish.metal, WRIST, "wrist"),
        Piece(joined([*pulleys, *cables]), inner, WRIST, "wrist"),
    ]


def _draw_jaw(r: float, rng: Rng) -> Jaw:
    kind = str(rng.choice(["plain", "loop", "teeth", "blade"], p=[0.3, 0.3, 0.25, 0.15]))
    length = rng.uniform(1.8, 4.0) * r
    width = rng.uniform(0.22, 0.45) * r
    return Jaw(length, width, rng.uniform(0.14, 0.26) * r, rng.uniform(-0.3, 0.5) * (kind != "loop"), kind)


def _jaws(jaw: Jaw, material: Material, hub: Material, r: float) -> list[Piece]:
    pieces = []
    joints: tuple[tuple[Joint, int], ...] = (("jaw_a", 1), ("jaw_b", -1))
    for joint, side in joints:
        root = disc((0, side * 0.22 * r, 0), 1, 0.45 * r, 0.3 * r)
        pieces.append(Piece(_jaw_mesh(jaw, side), material, CLASPER, joint))
        pieces.append(Piece(root, hub, CLASPER, joint))
    return pieces


def _jaw_mesh(jaw: Jaw, side: int) -> Mesh:
    """One jaw along +z whose inner face is at x = 0; `side` +1 or -1 mirrors it."""
    along = np.linspace(0, 1, 8)
    x = side * (jaw.thick + jaw.curve * jaw.length * 0.25 * along**2)
    z = along * jaw.length
    taper = 1 - 0.65 * along**1.5
    if jaw.kind == "loop":
        return _loop(jaw, side)
    path = np.stack([x, np.zeros(8), z], axis=1)
    sizes = np.stack([jaw.thick * taper, jaw.width * (taper if jaw.kind != "blade" else 1.1 - along)], axis=1)
    body = loft(path, np.maximum(sizes, 0.04 * jaw.length / 3), power=4)
    if jaw.kind != "teeth":
        return body
    teeth = [
        bar(
            (side * 0.2 * jaw.thick, -jaw.width * 0.7, at),
            (side * 0.2 * jaw.thick, jaw.width * 0.7, at),
            (jaw.thick * 0.4, jaw.length * 0.025),
        )
        for at in np.linspace(0.2, 0.9, 7) * jaw.length
    ]
    return joined([body, *teeth])


def _loop(jaw: Jaw, side: int) -> Mesh:
    """A fenestrated jaw: a closed bow around a window."""
    angle = np.linspace(-0.5 * np.pi, 1.5 * np.pi, 17)
    wide, long = jaw.width * 1.25, jaw.length * 0.5
    path = np.stack([np.full(17, side * jaw.thick), wide * np.cos(angle), long * (1 + np.sin(angle))], axis=1)
    return loft(path, [(jaw.width * 0.3, jaw.thick)] * 17, up=(1.0, 0.0, 0.0), sides=8, power=4)


def _straight(r: float, rng: Rng, maker: Rng) -> Instrument:
    """A laparoscopic grasper, dissector, scissors or sealer: rigid, jaws on a small hinge."""
    finish = draw_finish(maker, bright=0.3)
    taper = rng.uniform(0.55, 1.0)
    hinge = rng.uniform(0.6, 2.5) * r
    jaw = Jaw(
        rng.uniform(2.5, 7.0) * r,
        rng.uniform(0.4, 0.8) * r,
        rng.uniform(0.25, 0.45) * r,
        rng.uniform(-0.1, 0.6),
        "plain",
    )
    if rng.random() < 0.35:
        jaw = Jaw(jaw.length, jaw.width * 0.7, jaw.thick * 0.7, 0.0, "loop")
    tapered = [(-hinge - r, r), (-hinge - r, r), (-0.2 * r, taper * r), (0.3 * r, 0.5 * r)]
    pieces = [
        Piece(_rod(r, -SHAFT_LENGTH, -hinge - r), finish.shaft, SHAFT, "shaft"),
        Piece(lathe(tapered), finish.metal if rng.random() < 0.6 else finish.shaft, WRIST, "shaft"),
        *_jaws(jaw, finish.jaw, finish.jaw, r * taper),
    ]
    return Instrument("grasper", pieces, r, 0.0, jaw.length, 0.0, (0.01, rng.uniform(0.05, 0.8)))


def _stapler(r: float, rng: Rng, maker: Rng) -> Instrument:
    """A thick stapler: two long blunt jaws with slots and printed marks."""
    finish = draw_finish(maker, bright=0.6)
    r = r * rng.uniform(1.2, 1.7)
    length = rng.uniform(5, 9) * r
    pieces = [
        Piece(_rod(r, -SHAFT_LENGTH, -1.5 * r), finish.shaft, SHAFT, "shaft"),
        Piece(lathe([(-1.5 * r, 0.9 * r), (0.2 * r, 0.9 * r)]), finish.dark, WRIST, "shaft"),
    ]
    sides: tuple[tuple[Joint, int, Material], ...] = (("jaw_a", 1, finish.shaft), ("jaw_b", -1, finish.metal))
    for joint, side, material in sides:
        ends = [(side * 0.5 * r, 0, 0), (side * 0.5 * r, 0, 0.9 * length), (side * 0.35 * r, 0, length)]
        pieces.append(
            Piece(
                loft(ends, [(0.47 * r, 0.95 * r)] * 2 + [(0.2 * r, 0.5 * r)], power=3.5),
                material,
                CLASPER,
                joint,
            )
        )
    slots = [
        bar((1.0 * r, 0.3 * r * s, 0.15 * length), (1.0 * r, 0.3 * r * s, 0.8 * length), (0.04 * r, 0.08 * r))
        for s in (-1, 0, 1)
    ]
    pieces.append(Piece(joined(slots), finish.dark, CLASPER, "jaw_a"))
    return Instrument("stapler", pieces, r, 0.2 * r, length, 0.0, (0.0, rng.uniform(0.02, 0.25)))


def _hook(r: float, rng: Rng, maker: Rng) -> Instrument:
    """A cautery hook: insulated shaft, ceramic collar, thin bent wire."""
    finish = draw_finish(maker, bright=0.15)
    long, thin = rng.uniform(2.5, 6) * r, rng.uniform(0.14, 0.3) * r
    bend = rng.uniform(0.3, 1.3) * r
    path = [
        (0, 0, 0),
        (0, 0, 0.8 * long),
        (0.15 * bend, 0, 0.97 * long),
        (bend, 0, long),
        (1.3 * bend, 0, 0.9 * long),
    ]
    pieces = [
        Piece(_rod(r, -SHAFT_LENGTH, -1.2 * r), finish.shaft, SHAFT, "shaft"),
        Piece(
            lathe([(-1.2 * r, 0.95 * r), (-0.3 * r, 0.8 * r), (0.1 * r, 0.4 * r)]),
            finish.accent,
            WRIST,
            "shaft",
        ),
        Piece(loft(path, [(thin, thin)] * 5, sides=8), finish.metal, CLASPER, "shaft"),
    ]
    return Instrument("hook", pieces, r, 0.0, long, 0.0, (0.0, 0.0))


def _tube(r: float, rng: Rng, maker: Rng) -> Instrument:
    """Suction or irrigation: a plain tube with side holes near its round tip."""
    finish = draw_finish(maker, bright=0.7)
    r = r * rng.uniform(0.6, 1.0)
    pieces = [
        Piece(
            lathe([(-SHAFT_LENGTH, r), (-0.5 * r, r), (-0.1 * r, 0.85 * r), (0.1 * r, 0.5 * r)]),
            finish.shaft,
            SHAFT,
            "shaft",
        )
    ]
    if rng.random() < 0.7:
        holes = [disc((0, s * 0.93 * r, -k * 1.3 * r), 1, 0.3 * r, 0.18 * r) for k in (1, 2, 3) for s in (-1, 1)]
        pieces.append(Piece(joined(holes), finish.dark, SHAFT, "shaft"))
    return Instrument("suction", pieces, r, 0.0, 0.0, 0.0, (0.0, 0.0))


def _rod(r: float, start: float, end: float) -> Mesh:
    """A shaft; its texture repeats every `PRINT_LENGTH`, so that marks fall where the camera looks."""
    rod = lathe([(start, r), (end, r)])
    return Mesh(rod.vertices, rod.faces, rod.uv * (1.0, (end - start) / PRINT_LENGTH))

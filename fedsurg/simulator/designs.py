"""Instruments put together: a carrier, and the working end that gives the type its name."""

from collections.abc import Callable
from dataclasses import replace

from fedsurg.simulator import eye_tools
from fedsurg.simulator.carriers import Holder, robotic, rod, straight
from fedsurg.simulator.fields import Rng
from fedsurg.simulator.finishes import draw_finish
from fedsurg.simulator.instruments import Instrument, merged
from fedsurg.simulator.jaws import ENDS, End
from fedsurg.simulator.meshes import translation
from fedsurg.simulator.profiles import Style

LIGHT_BY_KIND = {"stapler": 0.6, "suction": 0.7, "hook": 0.15}  # probability of a white, steel or light grey shaft,
LIGHT_BY_CARRIER = {"robotic": 0.2, "straight": 0.4}  # and that of other kinds
THICKNESS = {"stapler": (1.2, 1.7), "suction": (0.7, 1.0)}  # of the shaft, against other instruments
SHEATHED = {"scissors": 0.6, "hook": 0.6}  # probability of a sleeve over a robotic wrist
LONG_JAWS = (1.1, 1.7)  # of laparoscopic jaws, against robotic ones on a shaft of the same radius
ONE_JAW_MOVES = 0.35  # probability, of straight instruments
EYE_TOOLS: dict[str, Callable[[float, Rng, Rng], Instrument]] = {
    "probe": eye_tools.probe,
    "forceps": eye_tools.forceps,
    "cannula": eye_tools.cannula,
    "injector": eye_tools.injector,
}


def draw_instrument(style: Style, radius: float, rng: Rng, maker: Rng) -> Instrument:
    """An instrument of a style: proportions drawn from `rng`, materials from `maker`; `radius` in millimetres."""
    if style.carrier == "hand":
        return EYE_TOOLS[style.kind](radius, rng, maker)
    finish = draw_finish(maker, bright=LIGHT_BY_KIND.get(style.kind, LIGHT_BY_CARRIER[style.carrier]))
    radius = radius * rng.uniform(*THICKNESS.get(style.kind, (1.0, 1.0)))
    if style.carrier == "robotic":
        holder = robotic(radius, finish, rng, sheath=SHEATHED.get(style.kind, 0.0))
        return _assembled(style.kind, holder, lambda r: ENDS[style.kind](r, 1.0, finish, rng))
    plain = style.kind == "suction"
    holder = rod(radius, finish, rng) if plain else straight(radius, finish, rng, hinged=style.kind != "hook")
    tool = _assembled(style.kind, holder, lambda r: ENDS[style.kind](r, rng.uniform(*LONG_JAWS), finish, rng))
    return _with_one_fixed_jaw(tool) if rng.random() < ONE_JAW_MOVES else tool


def _assembled(kind: str, holder: Holder, end_for: Callable[[float], End]) -> Instrument:
    end = end_for(holder.radius)
    shift = translation((0.0, 0.0, holder.hinge))  # the wrist's frame is at its own joint, not at the jaws'
    held = [replace(p, mesh=p.mesh.moved(shift)) if p.joint == "wrist" else p for p in end.pieces]
    pieces = merged([*holder.pieces, *held])
    return Instrument(kind, pieces, holder.radius, holder.hinge, holder.hinge + end.length, holder.bend, end.gape)


def _with_one_fixed_jaw(tool: Instrument) -> Instrument:
    return replace(tool, pieces=[replace(p, joint="wrist") if p.joint == "jaw_b" else p for p in tool.pieces])

"""Surgical instruments as jointed meshes: a shaft, a wrist and two jaws.

The resting instrument points along +z with its wrist joint at the origin, so the shaft lies at negative z. The
wrist turns about x, the jaws about y at the wrist's far end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fedsurg.simulator.materials import Body, Material
from fedsurg.simulator.meshes import Floats, Mesh, joined, rotation, translation

SHAFT_LENGTH = 400.0  # longer than any view, so that every shaft leaves the picture
Joint = Literal["shaft", "wrist", "jaw_a", "jaw_b"]


@dataclass(frozen=True, eq=False)
class Piece:
    """A rigid piece: it follows one joint and is labelled as one part."""

    mesh: Mesh
    material: Material
    part: int
    joint: Joint


@dataclass(frozen=True, eq=False)
class Instrument:
    """Pieces at rest and what may move.

    Attributes:
        kind: name of its type: grasper, scissors, hook, ...
        wrist: distance from the wrist joint to the jaw joint, millimetres.
        tip: z of the tip at rest.
        bend: largest wrist angle in radians (0: a rigid instrument).
        gape: range of the jaw opening in radians.
    """

    kind: str
    pieces: Sequence[Piece]
    radius: float
    wrist: float
    tip: float
    bend: float
    gape: tuple[float, float]


def merged(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces with those joined that move, look and are labelled alike: less to move in every frame."""
    groups: dict[tuple[int, int, str], list[Piece]] = {}
    for piece in pieces:
        groups.setdefault((piece.part, id(piece.material), piece.joint), []).append(piece)
    return [replace(group[0], mesh=joined([piece.mesh for piece in group])) for group in groups.values()]


@dataclass(frozen=True, eq=False)
class Posture:
    """Where an instrument is: pose of its shaft (4x4), wrist angles and jaw opening in radians."""

    pose: Floats
    pitch: float
    yaw: float
    opening: float


def posed(instrument: Instrument, posture: Posture) -> list[Body]:
    """The instrument in a posture, as one body per part and material."""
    frames = _frames(instrument, posture)
    groups: dict[tuple[int, int], list[Mesh]] = {}
    materials: dict[int, Material] = {}
    for piece in instrument.pieces:
        materials[id(piece.material)] = piece.material
        key = (piece.part, id(piece.material))
        groups.setdefault(key, []).append(piece.mesh.moved(frames[piece.joint]))
    return [Body(joined(meshes), materials[key], part) for (part, key), meshes in groups.items()]


def _frames(instrument: Instrument, posture: Posture) -> dict[Joint, Floats]:
    wrist = posture.pose @ rotation(0, posture.pitch)
    hinge = wrist @ translation((0.0, 0.0, instrument.wrist))
    return {
        "shaft": posture.pose,
        "wrist": wrist,
        "jaw_a": hinge @ rotation(1, posture.yaw + posture.opening / 2),
        "jaw_b": hinge @ rotation(1, posture.yaw - posture.opening / 2),
    }

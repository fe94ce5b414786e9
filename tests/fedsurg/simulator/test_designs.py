"""Every style of instrument: parts, reach, jaws."""

from dataclasses import replace

import numpy as np
import pytest

from fedsurg.simulator.designs import draw_instrument
from fedsurg.simulator.instruments import Instrument, Piece, Posture, merged, posed
from fedsurg.simulator.mask_values import BACKGROUND, CLASPER, SHAFT, WRIST
from fedsurg.simulator.materials import Material
from fedsurg.simulator.meshes import joined
from fedsurg.simulator.profiles import PROFILES, Style
from fedsurg.simulator.solids import block

STYLES = sorted({style for profile in PROFILES.values() for style, _ in profile.instruments})


def drawn(style: Style, seed: int = 0, maker: int = 1) -> Instrument:
    return draw_instrument(style, 4.0, np.random.default_rng(seed), np.random.default_rng(maker))


@pytest.mark.parametrize("style", STYLES, ids="-".join)
def test_every_style_is_a_sound_instrument_with_a_long_shaft(style: Style) -> None:
    tool = drawn(style)
    assert tool.kind == style.kind
    assert (tool.bend > 0) == (style.carrier == "robotic")
    expected = {SHAFT} if style.kind == "suction" else {SHAFT, WRIST, CLASPER}
    assert {piece.part for piece in tool.pieces} - {BACKGROUND} == expected
    for piece in tool.pieces:
        assert np.isfinite(piece.mesh.vertices).all()
        assert piece.mesh.faces.max() < len(piece.mesh.vertices) == len(piece.mesh.uv)
    assert min(piece.mesh.vertices[:, 2].min() for piece in tool.pieces) < -200


def test_the_tip_is_where_the_instrument_ends() -> None:
    for style in STYLES:
        tool = drawn(style)
        pose = np.eye(4)
        ends = [body.mesh.vertices[:, 2].max() for body in posed(tool, Posture(pose, 0, 0, 0)) if body.label]
        assert max(ends) == pytest.approx(tool.tip, abs=0.5 * tool.radius)


def test_jaws_part_when_they_open() -> None:
    tool = drawn(Style("grasper", "robotic"))
    widths = []
    for opening in tool.gape:
        jaws = [b.mesh.vertices for b in posed(tool, Posture(np.eye(4), 0, 0, opening)) if b.label == CLASPER]
        widths.append(np.ptp(np.concatenate(jaws)[:, 0]))
    assert widths[1] > widths[0] + 1


def test_the_maker_decides_materials_and_the_case_proportions() -> None:
    one, two = drawn(Style("scissors", "straight"), 0, 7), drawn(Style("scissors", "straight"), 1, 7)
    other = drawn(Style("scissors", "straight"), 0, 8)
    assert one.tip != two.tip and one.tip == other.tip
    assert one.pieces[0].material.colour == two.pieces[0].material.colour != other.pieces[0].material.colour


def test_merging_pieces_changes_no_surface() -> None:
    material = Material("metal", (0.5, 0.5, 0.5), 0.3)
    parts = [Piece(block((0, 0, z), (1, 1, 1)), material, SHAFT, "shaft") for z in (0.0, 5.0)]
    (one,) = merged(parts)
    assert np.array_equal(one.mesh.vertices, joined([piece.mesh for piece in parts]).vertices)
    assert len(merged([*parts, replace(parts[0], joint="wrist"), replace(parts[0], part=WRIST)])) == 3

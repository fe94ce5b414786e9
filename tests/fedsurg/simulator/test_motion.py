"""Hands: shafts pass their ports, tips reach the tissue, nothing jumps."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from fedsurg.simulator.actions import Stance, Workplace
from fedsurg.simulator.camera import draw_camera
from fedsurg.simulator.designs import draw_instrument
from fedsurg.simulator.ground import Ground
from fedsurg.simulator.instruments import Instrument, posed
from fedsurg.simulator.motion import Handling, View, draw_port, draw_swell, draw_wander
from fedsurg.simulator.profiles import PROFILES, Style
from fedsurg.simulator.scripts import Script, draw_script

FLAT = Ground(np.full((5, 5), 80.0), (0.6, 0.5))
PLACE = Workplace(0.0, 0.0, 0.15, (0.02, 0.4), 0.03)


@dataclass(frozen=True)
class Fixed:
    """A script that stands still."""

    stance: Stance

    def at(self, _time: float) -> tuple[str, Stance]:
        return "idle", self.stance


def handling_of(script: object, seed: int = 0, calm: bool = False) -> Handling:
    rng = np.random.default_rng(seed)
    port = draw_port(PROFILES["stomach"], View(0.6, 0.5), 80.0, rng.uniform(0, 6), rng)
    tremor = draw_wander(rng, 5)
    if calm:
        tremor = replace(tremor, amplitude=0 * tremor.amplitude)
    assert isinstance(script, Script | Fixed)
    return Handling(port, script, tremor, FLAT)  # type: ignore[arg-type]


def tool_of(carrier: str, kind: str = "grasper") -> Instrument:
    style = Style(kind, carrier)  # type: ignore[arg-type]
    return draw_instrument(style, 4.0, np.random.default_rng(0), np.random.default_rng(0))


@pytest.mark.parametrize("carrier", ["robotic", "straight"])
def test_motion_is_smooth_and_passes_the_port(carrier: str) -> None:
    tool = tool_of(carrier)
    for seed in range(5):
        handling = handling_of(draw_script("grasper", PLACE, 2.0, np.random.default_rng(seed)), seed)
        postures = [handling.posture(tool, time) for time in np.linspace(0, 2, 401)]
        poses = [posture.pose for posture in postures if posture is not None]
        if len(poses) == len(postures):
            steps = np.linalg.norm(np.diff([pose[:3, :] for pose in poses], axis=0), axis=(1, 2))
            assert 0 < steps.max() < 5  # millimetres in a two-hundredth of a second, retreats included
        for pose in poses:
            to_port = handling.port - pose[:3, 3]
            assert np.linalg.norm(np.cross(to_port, pose[:3, 2])) < 1e-6 * np.linalg.norm(to_port) + 1e-6


@pytest.mark.parametrize(("carrier", "near"), [("straight", 1e-6), ("robotic", 0.3)])
def test_the_tip_is_where_the_script_wants_it_even_with_a_bent_wrist(carrier: str, near: float) -> None:
    tool = tool_of(carrier, "suction")
    handling = handling_of(Fixed(Stance(x=0.2, y=-0.1, lift=0.1, pitch=0.8, yaw=-0.6)), calm=True)
    posture = handling.posture(tool, 0.0)
    assert posture is not None
    end = max((piece for piece in tool.pieces if piece.joint == "jaw_a"), key=lambda p: p.mesh.vertices[:, 2].max())
    at_rest = end.mesh.vertices[:, 2] > tool.tip - tool.wrist - 1e-6
    bodies = posed(replace(tool, pieces=[end]), posture)
    tip = bodies[0].mesh.vertices[at_rest].mean(axis=0)
    assert np.linalg.norm(tip - 72 * np.array([0.2 * 0.6, -0.1 * 0.5, 1.0])) < near + 0.5  # 80 mm less a tenth


def test_contacts_press_below_the_tissue_and_pull_above() -> None:
    tool = tool_of("straight")
    pressing = handling_of(Fixed(Stance(lift=-0.05)), calm=True).contact(tool, 0.0)
    pulling = handling_of(Fixed(Stance(lift=0.05, grip=1.0)), calm=True).contact(tool, 0.0)
    assert pressing is not None and pulling is not None
    assert np.allclose(pressing.place, (0, 0, 80)) and np.allclose(pressing.push, (0, 0, 4))
    assert np.allclose(pulling.place, (0, 0, 80)) and np.allclose(pulling.push, (0, 0, -4))
    assert handling_of(Fixed(Stance(lift=0.05)), calm=True).contact(tool, 0.0) is None
    far = handling_of(Fixed(Stance(lift=0.9, grip=1.0)), calm=True).contact(tool, 0.0)
    assert far is not None and np.linalg.norm(far.push) == pytest.approx(0.12 * 80)


def test_an_instrument_drawn_back_is_not_drawn() -> None:
    handling = handling_of(Fixed(Stance(out=1.0)))
    assert handling.posture(tool_of("robotic"), 0.0) is None
    assert handling.contact(tool_of("robotic"), 0.0) is None


def test_ports_lie_outside_the_picture() -> None:
    view, rng = View(0.6, 0.5), np.random.default_rng(0)
    for bearing in np.linspace(0, 6, 20):
        x, y, z = draw_port(PROFILES["stomach"], view, 80.0, bearing, rng)
        assert 0 < z < 80
        assert abs(x / z) > view.half_width or abs(y / z) > view.half_height


def test_breathing_is_slow_and_small() -> None:
    swell = draw_swell(np.random.default_rng(0), 50.0, calm=False)
    path = np.array([swell.at(time) for time in np.linspace(0, 20, 2001)])
    assert 0.05 < np.ptp(path, axis=0).max() < 8
    along = path[:-1] @ swell.breath
    rate = np.abs(np.fft.rfft(along - along.mean())).argmax() / 20
    assert 0.15 < rate < 0.4


def test_the_camera_moves_without_jumps_and_stays_near() -> None:
    for seed in range(5):
        camera = draw_camera(np.random.default_rng(seed), 50.0, 80.0, 20.0)
        places = np.array([camera.pose(time)[:3, 3] for time in np.linspace(0, 20, 2001)])
        assert np.linalg.norm(np.diff(places, axis=0), axis=1).max() < 1.0
        assert np.abs(places).max() < 35
    assert any(draw_camera(np.random.default_rng(seed), 50.0, 80.0, 60.0).wipes for seed in range(20))

"""Scripts: what types do, without jumps, in and out of view when they should."""

from dataclasses import astuple

import numpy as np
import pytest

from fedsurg.simulator.actions import ACTIONS, ACTIVITIES, Stance, Workplace
from fedsurg.simulator.profiles import PROFILES
from fedsurg.simulator.scripts import ROUNDS, draw_script

PLACE = Workplace(0.1, -0.2, 0.15, (0.02, 0.4), 0.03)
KINDS = sorted({style.kind for profile in PROFILES.values() for style, _ in profile.instruments})


def test_stances_add_and_blend() -> None:
    assert Stance(x=1.0, lift=2.0).plus(Stance(x=0.5), 2.0) == Stance(x=2.0, lift=2.0)
    assert Stance(x=1.0).towards(Stance(x=3.0, roll=4.0), 0.25) == Stance(x=1.5, roll=1.0)


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_strokes_begin_and_end_at_rest(name: str) -> None:
    action = ACTIONS[name]
    assert action.activity in ACTIVITIES
    for done in (0.0, 1.0):
        for chance in (0.0, 0.4, 0.99):
            assert np.allclose(astuple(action.stroke(done, chance)), 0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_has_a_script_without_jumps(kind: str) -> None:
    script = draw_script(kind, PLACE, 3.0, np.random.default_rng(1))
    assert {name for names in ROUNDS[kind] for name in names} <= set(ACTIONS)
    values = np.array([astuple(script.at(time)[1]) for time in np.linspace(0, 3, 3001)])
    assert np.abs(np.diff(values, axis=0)).max() < 0.03  # in a thousandth of a second
    for before, after in zip(script.steps, script.steps[1:], strict=False):
        assert before.end == after.start and before.after == after.before


def done_by(kind: str) -> set[str]:
    scripts = [draw_script(kind, PLACE, 6.0, np.random.default_rng(seed)) for seed in range(8)]
    return {script.at(time)[0] for script in scripts for time in np.linspace(0, 6, 25)}


def test_types_do_what_they_are_made_for() -> None:
    assert "cut" in done_by("scissors") and "cut" not in done_by("needle_driver")
    assert "coagulate" in done_by("hook") and "suture" not in done_by("hook")
    assert "suture" in done_by("needle_driver")
    assert {"grasp", "retract"} <= done_by("grasper")
    assert not {"cut", "suture", "coagulate", "grasp"} & done_by("suction")


def test_cutting_opens_and_closes_and_grasping_holds() -> None:
    snips = [ACTIONS["cut"].stroke(done, 0.99).opening for done in np.linspace(0, 1, 61)]
    assert max(snips) == pytest.approx(0.9, abs=0.01)
    held = ACTIONS["grasp"].goal(Stance(), PLACE, np.random.default_rng(0))
    assert held.grip == 1 and held.lift < 0 and held.opening < 0.2


def test_a_relayed_instrument_waits_outside_and_the_first_stays_away() -> None:
    first = draw_script("grasper", PLACE, 4.0, np.random.default_rng(3), ends=1.0)
    gone = first.steps[-1].start
    assert gone > 1.0
    assert first.at(gone + 0.1) == first.at(gone + 9.0)
    assert first.at(gone + 9.0)[0] == "out_of_view" and first.at(gone + 9.0)[1].out == 1
    second = draw_script("scissors", PLACE, 9.0, np.random.default_rng(4), begins=2.0)
    assert second.at(1.0)[0] == "out_of_view" and second.at(1.0)[1].out == 1
    assert second.at(2.1)[0] == "exchange"
    assert second.at(5.0)[1].out == 0


def test_where_tissue_is_not_touched_nothing_presses_or_holds() -> None:
    place = Workplace(0, 0, 0.1, (0.003, 0.03), 0.0)
    script = draw_script("forceps", place, 6.0, np.random.default_rng(0))
    stances = [script.at(time)[1] for time in np.linspace(0, 6, 61)]
    assert min(stance.lift for stance in stances) >= 0
    assert max(stance.grip for stance in stances) == 0

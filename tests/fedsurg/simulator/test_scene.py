"""Clips: labels that belong to the picture, shafts that leave it, motion that is smooth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedsurg.simulator.actions import ACTIVITIES
from fedsurg.simulator.camera import Move
from fedsurg.simulator.clip import Clip, ClipSeeds, draw_clip, photographed
from fedsurg.simulator.fields import above, cells, fractal
from fedsurg.simulator.ingredients import Recipe
from fedsurg.simulator.mask_values import CLASPER, SHAFT, WRIST
from fedsurg.simulator.materials import Body, Material
from fedsurg.simulator.meshes import grid, translation
from fedsurg.simulator.painter import GREY
from fedsurg.simulator.profiles import PROFILES
from fedsurg.simulator.sight import Sight, draw_murk
from fedsurg.simulator.smoke import SMOKES, moments_of_puffs

SIZE = (48, 64)


def clip_of(name: str, seed: int) -> Clip:
    return draw_clip(PROFILES[name], ClipSeeds(seed, seed, seed), *SIZE, 2.0)


def border(mask: np.ndarray) -> np.ndarray:
    return np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])


def test_shafts_enter_from_the_border_and_masks_hold_known_parts() -> None:
    seen: set[int] = set()
    for seed in range(6):
        clip = clip_of("stomach", seed)
        mask = clip.frame(clip.painter(), 0, 0.0).parts
        seen |= set(np.unique(mask).tolist())
        if (mask == SHAFT).any() and clip.look.circle > 1:
            assert border(mask).any()
    assert seen == {0, SHAFT, WRIST, CLASPER}


def test_mask_is_where_the_picture_changes_when_instruments_are_taken_away() -> None:
    clip = clip_of("kidney_bed", 3)
    painter = clip.painter()
    moving = clip.bodies(0.0)
    shown, empty = (painter.frame(clip.still, bodies, np.eye(4)) for bodies in (moving, []))
    assert not empty.parts.any()
    changed = np.abs(shown.light - empty.light).sum(2) > 1e-3
    assert (shown.parts > 0).mean() > 0.01
    assert changed[shown.parts > 0].mean() > 0.95
    assert (shown.depth[shown.parts > 0] < empty.depth[shown.parts > 0]).mean() > 0.99
    assert np.array_equal(shown.depth[shown.parts == 0], empty.depth[shown.parts == 0])


def test_depth_is_measured_along_the_optical_axis() -> None:
    clip = clip_of("stomach", 0)
    wall = grid(100.0 * np.stack([*np.meshgrid((-1.0, 1.0), (-1.0, 1.0)), np.full((2, 2), 0.7)], -1))
    body = Body(wall, Material("plastic", (0.5, 0.5, 0.5), 0.3), 2, instrument=7)
    shot = clip.painter().frame([], [body], translation((0.0, 0.0, -10.0)))
    assert np.allclose(shot.depth, 80, atol=1e-3)  # 70 mm ahead of the origin, 10 more to the camera
    assert (shot.instances == 7).all() and (shot.parts == 2).all()


def test_an_even_wall_has_no_grain_of_the_renderer() -> None:
    clip = clip_of("stomach", 0)
    wall = Body(grid(60.0 * np.stack([*np.meshgrid((-1.0, 1.0), (-1.0, 1.0)), np.ones((2, 2))], -1)), GREY, 0)
    light = clip.painter().frame([], [wall], np.eye(4)).light
    beside = (light[1:-1, :-2] + light[1:-1, 2:] + light[:-2, 1:-1] + light[2:, 1:-1]) / 4
    assert light.min() > 0 and np.abs(light[1:-1, 1:-1] / beside - 1)[4:-4, 4:-4].max() < 0.01


def test_what_passes_close_to_the_lens_is_blurred_in_the_picture() -> None:
    clip = next(c for c in (clip_of("kidney_bed", seed) for seed in range(20)) if c.bodies(0.0))
    shot = clip.shot(clip.painter(), 0.0)
    perfect = clip.look.without(frozenset({"nuisance"}))
    near = replace(shot, depth=np.where(shot.parts > 0, shot.depth / 4, shot.depth))
    looks = (replace(perfect, defocus_mm=reach) for reach in (0.0, 1.0))
    sharp, blurred = (photographed(near, look, Sight(), 0).picture for look in looks)
    assert (shot.parts > 0).any() and not np.array_equal(sharp, blurred)
    assert np.array_equal(photographed(shot, perfect, Sight(), 0).picture, sharp)


def test_every_instrument_has_a_number_and_a_kind() -> None:
    clip = next(c for c in (clip_of("kidney_bed", s) for s in range(20)) if len(c.tools) == 2)
    shot = clip.shot(clip.painter(), 0.0)
    assert len(clip.kinds) == 2
    assert set(np.unique(shot.instances)) <= {0, 1, 2}
    assert ((shot.instances > 0) == (shot.parts > 0)).all()


def test_nothing_is_labelled_outside_a_round_view() -> None:
    seed = next(s for s in range(200) if clip_look_is_round(s))
    clip = clip_of("abdominal", seed)
    frame = clip.frame(clip.painter(), 0, 0.0)
    y, x = np.mgrid[:48, :64] + 0.5
    outside = np.hypot(y - 24, x - 32) / np.hypot(24, 32) > clip.look.circle
    assert outside.any()
    assert not frame.parts[outside].any() and not frame.instances[outside].any() and not frame.depth[outside].any()
    assert frame.picture[outside].mean() < 20


def clip_look_is_round(seed: int) -> bool:
    from fedsurg.files import derived_seed
    from fedsurg.simulator.looks import draw_look

    return draw_look(PROFILES["abdominal"], np.random.default_rng(derived_seed("look", seed))).circle < 1


def test_fields_keep_their_range_and_share() -> None:
    rng = np.random.default_rng(0)
    noise = fractal(rng, 96, 4)
    assert 0 <= noise.min() < 0.2 < 0.8 < noise.max() <= 1
    assert above(noise, 0.3, 0.01).mean() == pytest.approx(0.3, abs=0.15)
    index, dome = cells(rng, 64, 9)
    assert set(np.unique(index)) <= set(range(9))
    assert 0 <= dome.min() <= dome.max() <= 1


def test_a_site_look_fixes_camera_and_materials_but_not_anatomy() -> None:
    one, two = (draw_clip(PROFILES["stomach"], ClipSeeds(7, case, case), *SIZE, 1.0) for case in (1, 2))
    assert one.look == two.look
    assert one.distance != two.distance


def test_ports_and_instruments_belong_to_the_case_and_work_to_the_clip() -> None:
    one, two = (draw_clip(PROFILES["stomach"], ClipSeeds(1, 2, clip), *SIZE, 1.0) for clip in (3, 4))
    assert one.tools and two.tools
    assert len({tuple(handling.port) for clip in (one, two) for _, handling in clip.tools}) <= 4
    assert tuple(one.tools[0][1].port) == tuple(two.tools[0][1].port)
    assert one.tools[0][0].tip == two.tools[0][0].tip
    assert one.tools[0][1].stance(0.5) != two.tools[0][1].stance(0.5)


def test_any_frame_can_be_drawn_on_its_own() -> None:
    whole, alone = clip_of("kidney_bed", 1), clip_of("kidney_bed", 1)
    painter = whole.painter()
    frames = [whole.frame(painter, number, number / 8) for number in range(3)]
    last = alone.frame(alone.painter(), 2, 2 / 8)
    assert np.array_equal(frames[2].picture, last.picture) and np.array_equal(frames[2].parts, last.parts)
    assert not np.array_equal(frames[1].picture, last.picture)


def test_a_clip_is_as_busy_as_its_busiest_instrument() -> None:
    clip = next(c for c in (clip_of("kidney_bed", s) for s in range(30)) if len(c.tools) > 1)
    for time in np.linspace(0, 2, 9):
        assert ACTIVITIES.index(clip.activity(time)) == max(map(ACTIVITIES.index, clip.activities(time)))
    assert replace(clip, tools=[]).activity(0.0) == "out_of_view"


def test_nothing_is_seen_while_the_camera_is_wiped() -> None:
    clip = clip_of("stomach", 2)
    wiped = replace(clip, camera=replace(clip.camera, wipes=((0.0, 2.0),)))
    frame = wiped.frame(wiped.painter(), 8, 1.0)
    assert frame.picture.max() == 0 and not frame.parts.any() and not frame.depth.any()
    assert wiped.activity(1.0) == "out_of_view"
    assert wiped.camera.veil(3.0) == 0


@pytest.mark.parametrize("size", [(48, 64), (64, 48)])
def test_coagulation_smokes_at_the_tip_and_the_label_stays(size: tuple[int, int]) -> None:
    clip, tool = next(found for seed in range(400) if (found := coagulating(seed, size)))
    still = replace(clip.murk.smoke, haze=0.0, wind=np.zeros(2), layers=(np.ones((64, 64)),) * 2)
    smoky, clear = (replace(clip, murk=replace(clip.murk, smoke=smoke)) for smoke in (still, None))
    frame, without = (shown.frame(clip.painter(), 8, 1.0) for shown in (smoky, clear))
    assert not np.array_equal(frame.picture, without.picture)
    assert np.array_equal(frame.parts, without.parts)
    share = smoky.sight(1.0).smoke
    assert share is not None and clear.sight(1.0).smoke is None
    thickest = np.array(np.unravel_index(share.argmax(), share.shape))
    tips = np.argwhere((frame.instances == tool) & (frame.parts == CLASPER))
    assert np.linalg.norm(tips - thickest, axis=1).min() < 4


def coagulating(seed: int, size: tuple[int, int]) -> tuple[Clip, int] | None:
    """A clip in which one tool alone has given off smoke for a while at second 1, and its number."""
    clip = draw_clip(PROFILES["prostate_fossa"], ClipSeeds(seed, seed, seed), *size, 2.0)
    at_work = [
        number
        for number, (_, handling) in enumerate(clip.tools, 1)
        if all(handling.activity(moment) == SMOKES for moment in (0.6, 0.8, 1.0))
    ]
    smokes = sum(any(h.activity(m) == SMOKES for m in moments_of_puffs(1.0)) for _, h in clip.tools)
    if not clip.murk.plumes or clip.camera.wipes or clip.look.circle < 1 or len(at_work) != 1 or smokes > 1:
        return None
    return clip, at_work[0]


def test_an_operation_has_clear_and_hazy_clips_with_one_camera() -> None:
    air = [draw_murk(PROFILES["uterus"], clip, 0.5, Recipe()).smoke for clip in range(60)]
    assert {bool(smoke.haze) for smoke in air if smoke} == {True, False}
    first, second = (draw_clip(PROFILES["uterus"], ClipSeeds(7, 7, clip), 16, 16, 0.5) for clip in (0, 1))
    assert first.look == second.look


def test_a_wiped_lens_is_clean() -> None:
    clips = (
        draw_clip(PROFILES["stomach"], ClipSeeds(seed, 1, seed), 16, 16, 2.0, Recipe(worn=True)) for seed in range(50)
    )
    clip = next(c for c in clips if c.murk.lens and c.murk.lens.mist and c.murk.lens.drops)
    wiped = replace(clip, camera=replace(clip.camera, wipes=((0.5, 1.0),)))
    before, after = wiped.sight(0.4).lens, wiped.sight(1.5).lens
    assert before and after
    assert before.mist and not after.mist and not after.drops
    assert wiped.camera.wiped(0.4) == -np.inf and wiped.camera.wiped(1.5) == 0.75


def test_the_tissue_blurs_when_the_camera_goes() -> None:
    clip = replace(clip_of("stomach", 0), tools=[], shutter=0.03)
    rushing = replace(clip, camera=replace(clip.camera, moves=(Move(0.0, 0.1, np.array([40.0, 0, 0, 0, 0])),)))
    sharp, blurred = (shown.shot(clip.painter(), 0.05).light for shown in (replace(rushing, shutter=0.0), rushing))
    steps = [float(np.abs(np.diff(light, axis=1)).mean()) for light in (sharp, blurred)]
    assert steps[1] < 0.8 * steps[0]


def test_no_module_hides_what_the_package_exports() -> None:
    import fedsurg.simulator

    for path in Path(fedsurg.simulator.__file__).parent.glob("*.py"):
        assert path.stem not in fedsurg.simulator.__all__

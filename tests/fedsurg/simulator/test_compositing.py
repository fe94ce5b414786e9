"""Rendering with photographs and cut-outs: labels that belong to the picture, cuts that are never seen, same bytes."""

import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fedsurg.cli.main import main
from fedsurg.cli.simulator import simulator
from fedsurg.data.check import check_site
from fedsurg.errors import SimulatorError
from fedsurg.simulator import RenderRequest
from fedsurg.simulator.assets import Assets, read_assets
from fedsurg.simulator.backdrop import MIDDLE_GREY, draw_backdrop
from fedsurg.simulator.clip import Clip, ClipSeeds, draw_clip
from fedsurg.simulator.colour import Palette, palette_of
from fedsurg.simulator.compositing import Scene, draw_scene
from fedsurg.simulator.dataset import render
from fedsurg.simulator.lens import Drop, Lens
from fedsurg.simulator.pasting import draw_pasted
from fedsurg.simulator.pictures import load_cutout
from fedsurg.simulator.profiles import PROFILES
from fedsurg.simulator.sight import Murk
from fedsurg.simulator.smoke import draw_smoke

SIZE = (32, 48)
GREY = Palette(np.array([50.0, 0, 0]), np.array([10.0, 5, 5]))
REQUEST = RenderRequest(
    ("kidney_bed",), clips=3, frames=2, seed=1, height=32, width=48, val_cases=1, whole_instruments=True
)


def scene_of(assets: Assets, seed: int, profile: str = "kidney_bed") -> Scene:
    return draw_scene(PROFILES[profile], ClipSeeds(seed, seed, seed), SIZE, 2.0, assets, 0)


def clip_of(profile: str, seed: int) -> Clip:
    return draw_clip(PROFILES[profile], ClipSeeds(seed, seed, seed), *SIZE, 2.0)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("given", ["both", "backgrounds", "instruments"])
def test_photographs_are_seen_through_smoke_and_drops_as_well(given: str, backgrounds: Path, instruments: Path) -> None:
    assets = read_assets(
        backgrounds if given != "instruments" else None, instruments if given != "backgrounds" else None
    )
    clear = scene_of(assets, 1)
    hazy = Murk(replace(draw_smoke(np.random.default_rng(0), 1.0), haze=0.5), None)
    dirty = Murk(None, Lens((Drop(0.5, 0.5, 0.2, 1.0),), 0.0, np.ones((64, 64))))
    pictures = []
    for murk in (Murk(None, None), hazy, dirty):
        clip = clear.ground.clip and replace(clear.ground.clip, murk=murk)
        scene = replace(clear, ground=replace(clear.ground, clip=clip, murk=murk))
        pictures.append(scene.frame(4, 0.5).picture.astype(int))
    assert np.abs(pictures[1] - pictures[0]).mean() > 3
    assert np.abs(pictures[2] - pictures[0])[12:20, 20:28].mean() > 3


def test_the_activity_of_a_composed_clip(backgrounds: Path, instruments: Path) -> None:
    """Cut-outs do nothing; rendered instruments do what their scripts say, and behind a wiper nobody sees it."""
    assert {scene_of(read_assets(backgrounds, instruments), 1).activity(time) for time in (0.0, 1.0)} == {"idle"}
    scene = scene_of(read_assets(backgrounds), 1)
    clip = scene.ground.clip
    assert clip
    assert scene.activity(0.5) == clip.activity(0.5) != "out_of_view"


def test_depth_behind_a_cutout_is_not_known(instruments: Path) -> None:
    scene = next(s for seed in range(20) if (s := scene_of(read_assets(None, instruments), seed)).pasted)
    frame = scene.frame(0, 0.0)
    pasted = (frame.instances > len(scene.ground.clip.tools if scene.ground.clip else ())) & (frame.parts > 0)
    assert pasted.any() and (frame.depth[pasted] == 0).all() and (frame.depth[~pasted] > 0).any()


@pytest.mark.parametrize("given", ["both", "backgrounds", "instruments"])
def test_bytes_do_not_depend_on_processes_or_places(
    given: str, backgrounds: Path, instruments: Path, tmp_path: Path
) -> None:
    folders = (backgrounds if given != "instruments" else None, instruments if given != "backgrounds" else None)
    request = replace(REQUEST, assets=read_assets(*folders), labels=("parts", "instances"))
    one = render(request, tmp_path / "one", workers=1)
    for folder in (backgrounds, instruments):
        folder.rename(tmp_path / f"moved {folder.name}")
    moved = (folder and tmp_path / f"moved {folder.name}" for folder in folders)
    two = render(replace(request, assets=read_assets(*moved)), tmp_path / "two", workers=2)
    assert content(one) == content(two)
    assert check_site(one).problems == ()
    assert tomllib.loads((one / "site.toml").read_text())["simulated"] is False
    record = (one / "simulator.json").read_text()
    assert json.loads(record)["request"]["assets"] == request.assets.digests()
    assert str(tmp_path) not in record
    kinds = json.loads((one / "instruments.json").read_text())
    assert {kind for clip in kinds.values() for kind in clip.values()}


def test_whole_cutouts_are_labelled_where_they_are_seen(backgrounds: Path, instruments: Path) -> None:
    assets = read_assets(backgrounds, instruments)
    seen = 0
    for seed in range(4):
        scene = scene_of(assets, seed)
        with_tools, without = scene.frame(0, 0.5), replace(scene, pasted=[]).frame(0, 0.5)
        assert not without.parts.any() and not without.instances.any()
        assert ((with_tools.instances > 0) == (with_tools.parts > 0)).all()
        change = np.abs(with_tools.picture.astype(float) - without.picture).mean(axis=2)
        inside = with_tools.parts > 0
        if inside.any() and scene.look.circle > 1:
            assert change[inside].mean() > 2 * change[~inside].mean()
            seen += 1
    assert seen >= 2


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_cut_is_never_seen(side: str, tmp_path: Path, draw: Callable[..., np.ndarray]) -> None:
    Image.fromarray(draw(side)).save(tmp_path / "a.png")
    (cutout,) = read_assets(None, tmp_path).cutouts
    opened = load_cutout(cutout)
    black = np.zeros((*SIZE, 3))
    visible = 0
    for seed in range(12):
        pasted = draw_pasted(opened, GREY, SIZE, 2 * np.pi * seed / 12, False, np.random.default_rng(seed))
        for time in np.linspace(0, 8, 5):
            light, parts = pasted.over(black, float(time))
            edges = [parts[0], parts[-1], parts[:, 0], parts[:, -1]]
            assert sum(edge.any() for edge in edges) >= 1 or not parts.any()
            visible += bool(parts.any())
            matrix, corner = pasted._placed(SIZE, float(time))
            places = (pasted.cuts - corner) @ np.linalg.inv(matrix).T
            outside = (places < 0).any(axis=1) | (places > np.array(SIZE) - 1).any(axis=1)
            assert len(places) and outside.all()
            # At the border where it leaves, the instrument is as solid as anywhere.
            axis, sign = pasted.side
            border = np.take(light.sum(2), 0 if sign < 0 else -1, axis=axis)
            if (np.take(parts, 0 if sign < 0 else -1, axis=axis) > 0).sum() > 5:
                assert border.max() > 0.8 * light.sum(2).max()
    assert visible > 40


def test_cutouts_move_smoothly(instruments: Path) -> None:
    opened = load_cutout(read_assets(None, instruments).cutouts[0])
    for seed in range(6):
        pasted = draw_pasted(opened, GREY, SIZE, 0.8 + seed, False, np.random.default_rng(seed))
        tips = []
        for time in np.linspace(0, 4, 81):
            matrix, corner = pasted._placed(SIZE, float(time))
            tips.append(np.linalg.inv(matrix) @ (pasted.tip - corner))
        steps = np.linalg.norm(np.diff(tips, axis=0), axis=1)
        assert 0 < steps.max() < 2.5  # pixels in a twentieth of a second


def test_cutouts_come_from_the_side_of_their_bearing(instruments: Path) -> None:
    opened = load_cutout(read_assets(None, instruments).cutouts[0])
    for bearing, border in ((0.0, np.s_[:, -1]), (np.pi / 2, np.s_[-1]), (np.pi, np.s_[:, 0]), (-np.pi / 2, np.s_[0])):
        pasted = draw_pasted(opened, GREY, SIZE, bearing, False, np.random.default_rng(0))
        _, parts = pasted.over(np.zeros((*SIZE, 3)), 0.0)
        assert parts[border].any()


def test_colours_come_near_the_scene(instruments: Path) -> None:
    opened = load_cutout(read_assets(None, instruments).cutouts[0])
    red = palette_of(np.full((4, 4, 3), (0.3, 0.05, 0.05)))
    shades = []
    for scene in (GREY, red):
        light, parts = draw_pasted(opened, scene, SIZE, 0.0, False, np.random.default_rng(3)).over(
            np.zeros((*SIZE, 3)), 0.0
        )
        shades.append(light[parts > 0].mean(axis=0))
    assert shades[1][0] / shades[1].sum() > 1.2 * shades[0][0] / shades[0].sum()


def test_part_values_follow_the_cutout(tmp_path: Path, draw: Callable[..., np.ndarray]) -> None:
    Image.fromarray(draw("left")).save(tmp_path / "a.png")
    parts = np.ones((40, 60), np.uint8)
    parts[:, 20:] = 3
    Image.fromarray(parts).save(tmp_path / "a.parts.png")
    pasted = draw_pasted(
        load_cutout(read_assets(None, tmp_path).cutouts[0]), GREY, SIZE, 0.0, False, np.random.default_rng(1)
    )
    _, shown = pasted.over(np.zeros((*SIZE, 3)), 0.0)
    assert set(np.unique(shown)) == {0, 1, 3}
    columns = np.arange(SIZE[1])
    assert (columns * (shown == 3)).sum() / (shown == 3).sum() < (columns * (shown == 1)).sum() / (shown == 1).sum()


def test_a_backdrop_drifts_a_little_and_keeps_its_light(backgrounds: Path) -> None:
    with Image.open(backgrounds / "one.jpg") as picture:
        pixels = np.array(picture)
    for seed in range(4):
        backdrop = draw_backdrop(pixels, SIZE, np.random.default_rng(seed))
        frames = [backdrop.at(time) for time in (0.0, 0.1, 2.0)]
        assert all(frame.shape == (*SIZE, 3) and frame.min() >= 0 for frame in frames)
        assert 0.4 * MIDDLE_GREY < frames[0].mean() < 2.5 * MIDDLE_GREY
        near, far = (float(np.abs(frame - frames[0]).mean()) for frame in frames[1:])
        assert 0 < near < far < 0.1
    views = [draw_backdrop(pixels, SIZE, np.random.default_rng(seed)).at(0.0) for seed in range(2)]
    assert np.abs(views[0] - views[1]).mean() > 0.02


def test_one_photograph_gives_many_pictures_and_rendered_instruments_stay(backgrounds: Path) -> None:
    assets = read_assets(backgrounds)
    frames = [scene_of(assets, seed, "stomach").frame(0, 0.0) for seed in range(4)]
    greener = []
    for seed, frame in enumerate(frames):
        drawn = clip_of("stomach", seed)
        rendered = drawn.frame(drawn.painter(), 0, 0.0)
        tool, bed = rendered.parts > 0, frame.parts + rendered.parts == 0
        assert (frame.parts[tool] == rendered.parts[tool]).mean() > 0.95  # a little may lie behind the wall
        green, red = ((shot.picture[bed].mean(axis=0)[1] / shot.picture[bed].mean()) for shot in (frame, rendered))
        greener.append(green > red)
    assert all(greener)
    assert np.abs(frames[0].picture.astype(float) - frames[1].picture).mean() > 10
    assert {1, 2, 3} <= {value for frame in frames for value in np.unique(frame.parts).tolist()}


def test_depth_of_photographs_is_refused(backgrounds: Path, tmp_path: Path) -> None:
    request = replace(REQUEST, assets=read_assets(backgrounds), labels=("parts", "depth"))
    with pytest.raises(SimulatorError, match="nobody knows the depth of photographs"):
        render(request, tmp_path / "out")


def test_cases_share_the_photographs_evenly(backgrounds: Path) -> None:
    from fedsurg.simulator.frames import photograph_of

    with Image.open(backgrounds / "one.jpg") as picture:
        for name in ("two", "three"):
            picture.save(backgrounds / f"{name}.jpg")
    request = replace(REQUEST, clips=12, cases=6, assets=read_assets(backgrounds))
    used = [photograph_of(request, clip) for clip in range(12)]
    assert sorted(used[:6]) == [0, 0, 1, 1, 2, 2] and used[:6] == used[6:]


def test_the_command_takes_pictures_in(backgrounds: Path, instruments: Path, tmp_path: Path) -> None:
    words = ["render", "--profile", "eye", "--clips", "1", "--frames", "1", "--seed", "1", "--size", "32x48"]
    words += ["--backgrounds", str(backgrounds), "--instruments", str(instruments), "--workers", "1"]
    result = CliRunner().invoke(simulator, [*words, "--whole-instruments", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/images/clip00000_00000.jpg").exists()
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0  # as private as the pictures


def test_bad_pictures_are_one_line_and_leave_nothing(
    instruments: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (instruments / "a.png").write_text("no picture")
    words = ["--clips", "1", "--seed", "1", "--whole-instruments", "--instruments", str(instruments)]
    with pytest.raises(SystemExit) as end:
        main(["simulator", "render", *words, "--out", str(tmp_path / "out")])
    assert end.value.code == 1
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "a.png: is no picture; replace or remove it" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["instruments"]


def test_a_worker_that_loses_a_picture_can_go_on(backgrounds: Path, tmp_path: Path) -> None:
    request = replace(REQUEST, assets=read_assets(backgrounds))
    whole = render(request, tmp_path / "whole", workers=1)
    seen: list[int] = []

    def vanish(done: int, _all: int) -> None:
        seen.append(done)
        if done == 2:
            (backgrounds / "one.jpg").rename(tmp_path / "away.jpg")

    with pytest.raises(SimulatorError, match=r"one.jpg: cannot be read"):
        render(request, tmp_path / "out", workers=1, progress=vanish)
    assert not (tmp_path / "out").exists()
    (tmp_path / "away.jpg").rename(backgrounds / "one.jpg")
    seen.clear()
    render(request, tmp_path / "out", workers=1, progress=lambda done, _all: seen.append(done))
    assert seen[0] >= 2
    assert content(tmp_path / "out") == content(whole)

"""Pale tissue and mirrored tissue: each on its own side of the label's outline."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedsurg.data.augment import Augmentation
from fedsurg.data.clips import Clip
from fedsurg.data.labels import IGNORE
from fedsurg.data.lookalikes import lay_pale_tissue, mirror_tissue
from fedsurg.study.config import AugmentationConfig

SIZE = (48, 64)
VISIBLE = 20.0  # edges are soft: what is fainter is their tail
RED = torch.tensor([160.0, 60.0, 50.0]).view(3, 1, 1)
GREY = torch.tensor([120.0, 120.0, 120.0]).view(3, 1, 1)
STILL = {"flip": False, "scale": (1.0, 1.0), "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}

Change = Callable[[Tensor, Tensor, torch.Generator], Tensor]


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def red_tissue_and_grey_steel(times: int = 1) -> tuple[Tensor, Tensor]:
    """Frames (t, 3, h, w) with a grey bar across red, and their label; the lowest rows are not labelled."""
    label = torch.zeros(SIZE, dtype=torch.int64)
    label[10:20] = 2
    label[-6:] = IGNORE
    return torch.where(label == 2, GREY, RED).expand(times, -1, -1, -1), label


def changed_pixels(change: Change, seed: int, least: float = 0.5) -> tuple[Tensor, Tensor]:
    """Where a pixel changed by more than so many levels of 255 (h, w), and the label."""
    frames, label = red_tissue_and_grey_steel()
    after = change(frames, label, rng(seed))
    assert after.min() >= 0
    assert after.max() <= 255
    return ((after - frames).abs() > least).any(1)[0], label


@given(st.integers(0, 2**62))
def test_only_tissue_is_painted_over(seed: int) -> None:
    changed, label = changed_pixels(lay_pale_tissue, seed)
    assert not changed[label != 0].any()


def test_pale_tissue_covers_some_of_nearly_every_frame_and_never_all_of_them() -> None:
    covered = []
    for seed in range(60):
        changed, label = changed_pixels(lay_pale_tissue, seed, VISIBLE)
        covered.append(float(changed[label == 0].float().mean()))
    assert sum(share > 0.02 for share in covered) > 50
    assert 0.1 < sum(covered) / len(covered) < 0.6
    assert len(set(covered)) > 50


def test_pale_tissue_is_greyer_than_the_tissue_it_lies_on() -> None:
    """Redness (red over the mean of the channels) of red tissue is 1.78, of steel 1."""
    redness = []
    for seed in range(40):
        frames, label = red_tissue_and_grey_steel()
        after = lay_pale_tissue(frames, label, rng(seed))[0]
        changed, _ = changed_pixels(lay_pale_tissue, seed, VISIBLE)
        redness.append(float((after[0] / after.mean(0))[changed].mean()))
    assert 1.0 < sum(redness) / len(redness) < 1.5
    assert max(redness) < 1.78


@given(st.integers(0, 2**62))
def test_steel_takes_on_the_colour_around_and_stays_as_bright(seed: int) -> None:
    frames, label = red_tissue_and_grey_steel()
    after = mirror_tissue(frames, label, rng(seed))
    steel = after[0][:, label == 2]
    assert torch.equal(after[0][:, label != 2], frames[0][:, label != 2])
    assert torch.allclose(steel.mean(0), torch.tensor(120.0), atol=0.5)
    assert (steel[0] > 130).all()
    assert (steel[0] > steel[1]).all()
    assert (steel[1] > steel[2]).all()  # as in the tissue
    assert steel[0].max() < 120 * 160 / 90 + 1  # never redder than the tissue


@given(st.integers(0, 2**62), st.floats(30, 255))
def test_steel_of_any_brightness_stays_as_bright(seed: int, brightness: float) -> None:
    frames, label = red_tissue_and_grey_steel()
    frames = torch.where(label == 2, brightness, frames)
    steel = mirror_tissue(frames, label, rng(seed))[0][:, label == 2]
    assert torch.allclose(steel.mean(0), torch.tensor(brightness), atol=0.5)
    assert steel.max() < 255.1


@pytest.mark.parametrize("change", [lay_pale_tissue, mirror_tissue])
def test_the_current_frame_stands_in_for_past_ones(change: Change) -> None:
    """Whose instruments were elsewhere, and would be painted over by a label that is not theirs."""
    frames, label = red_tissue_and_grey_steel(3)
    frames = torch.cat([frames[:1].roll(12, -2), frames[1:2].roll(6, -2), frames[2:]])
    after = change(frames, label, rng(4))
    assert torch.equal(after, change(frames[2:], label, rng(4)).expand(3, -1, -1, -1))


@pytest.mark.parametrize("change", [lay_pale_tissue, mirror_tissue])
def test_a_black_border_stays_black_and_darkens_nothing(change: Change) -> None:
    """Halves of the frame as a round view leaves them; the label calls them background."""
    _, label = red_tissue_and_grey_steel()
    black = torch.arange(SIZE[1]) < SIZE[1] // 2
    frames = torch.where(black, 0.0, torch.where(label == 2, GREY, RED))[None]
    means = []
    for seed in range(60):
        after = change(frames, label, rng(seed))
        assert not after[..., black].any()
        means.append(float(after[..., ~black].mean()))
    whole = torch.where(label == 2, GREY, RED)[None]
    expected = [float(change(whole, label, rng(seed))[..., ~black].mean()) for seed in range(60)]
    assert sum(means) == pytest.approx(sum(expected), rel=0.03)


@given(st.integers(0, 2**62))
def test_bright_steel_throws_no_light_on_pale_tissue(seed: int) -> None:
    frames, label = red_tissue_and_grey_steel()
    glaring = torch.where(label == 2, 255.0, frames)
    pale, beside_glare = (lay_pale_tissue(given, label, rng(seed))[0][:, label == 0] for given in (frames, glaring))
    assert torch.allclose(pale, beside_glare, atol=1)


@pytest.mark.parametrize(("change", "filled"), [(lay_pale_tissue, 1), (lay_pale_tissue, IGNORE), (mirror_tissue, 0)])
def test_a_frame_without_its_side_stays_as_it_is(change: Change, filled: int) -> None:
    frames, _ = red_tissue_and_grey_steel()
    assert torch.equal(change(frames, torch.full(SIZE, filled), rng(0)), frames)


def test_a_frame_of_steel_alone_stays_finite() -> None:
    frames = GREY.expand(1, 3, *SIZE)
    after = mirror_tissue(frames, torch.ones(SIZE, dtype=torch.int64), rng(0))
    assert torch.allclose(after, frames, atol=0.5)


@pytest.mark.parametrize("change", [lay_pale_tissue, mirror_tissue])
def test_all_that_is_random_comes_from_the_generator(change: Change) -> None:
    frames, label = red_tissue_and_grey_steel()
    torch.manual_seed(1)
    first = change(frames, label, rng(4))
    torch.manual_seed(2)
    assert torch.equal(change(frames, label, rng(4)), first)
    assert not torch.equal(change(frames, label, rng(5)), first)


def test_steel_mirrors_what_is_beside_it() -> None:
    """Tissue is red on the left, yellow on the right."""
    _, label = red_tissue_and_grey_steel()
    yellow = torch.tensor([140.0, 120.0, 30.0]).view(3, 1, 1)
    right = torch.arange(SIZE[1]) >= SIZE[1] // 2
    frames = torch.where(label == 2, GREY, torch.where(right, yellow, RED))[None]
    steel = mirror_tissue(frames, label, rng(0))[0][:, 10:20]
    assert (steel[1, :, :10] < 115).all()  # little green
    assert (steel[1, :, -10:] > 121).all()


def test_pale_tissue_is_lit_as_the_frame_is() -> None:
    """The right half has three times the light of the left."""
    light = torch.where(torch.arange(SIZE[1]) < SIZE[1] // 2, 0.4, 1.2)
    frames = (RED * light).expand(1, 3, *SIZE)
    left, right = [], []
    for seed in range(60):
        after = lay_pale_tissue(frames, torch.zeros(SIZE, dtype=torch.int64), rng(seed))
        changed = ((after - frames).abs() > VISIBLE).any(1)[0]
        for side, columns in ((left, slice(0, 24)), (right, slice(40, 64))):
            if changed[:, columns].any():
                side.append(float(after[0, :, :, columns].mean(0)[changed[:, columns]].mean()))
    assert sum(right) / len(right) > 1.8 * sum(left) / len(left)


@pytest.mark.parametrize(("strips", "least", "most"), [(1.0, 0.05, 0.16), (0.0, 0.12, 0.3)], ids=["strip", "patch"])
def test_shapes_are_as_large_in_frames_of_any_size(
    monkeypatch: pytest.MonkeyPatch, strips: float, least: float, most: float
) -> None:
    """Mean share of the frame that one strip, or one patch, covers."""
    monkeypatch.setattr("fedsurg.data.lookalikes._STRIPS", strips)
    monkeypatch.setattr("fedsurg.data.lookalikes._MOST", 1)
    means = []
    for height, width in ((64, 80), (128, 160)):  # in smaller ones edges, soft over pixels, are a part of the shape
        frames = RED.expand(1, 3, height, width)
        shares = []
        for seed in range(150):
            after = lay_pale_tissue(frames, torch.zeros(height, width, dtype=torch.int64), rng(seed))
            shares.append(float(((after - frames).abs() > VISIBLE).any(1).float().mean()))
        means.append(sum(shares) / len(shares))
    assert all(least < mean < most for mean in means), means
    assert means[0] == pytest.approx(means[1], rel=0.3)


def test_strips_lie_everywhere_in_a_wide_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsurg.data.lookalikes._STRIPS", 1.0)
    frames = RED.expand(1, 3, 32, 128)
    seen = torch.zeros(32, 128)
    for seed in range(120):
        after = lay_pale_tissue(frames, torch.zeros(32, 128, dtype=torch.int64), rng(seed))
        seen += ((after - frames).abs() > VISIBLE).any(1)[0]
    parts = [float(part.mean()) for part in (*seen.chunk(4, dim=1), *seen.chunk(2, dim=0))]
    assert min(parts) > 0.5 * max(parts), parts


@pytest.mark.parametrize(("key", "is_its_side"), [("pale_tissue", (0,)), ("reflections", (1, 2))])
def test_a_clip_that_was_moved_is_painted_by_its_moved_label(key: str, is_its_side: tuple[int, ...]) -> None:
    frames, label = red_tissue_and_grey_steel(2)
    clip = Clip(frames.to(torch.uint8), label)
    moved = {**STILL, "scale": (1.5, 2.0), "rotation": 30}
    changed = 0
    for seed in range(40):
        plain = Augmentation(AugmentationConfig(**moved), SIZE)(clip, rng(seed))
        after = Augmentation(AugmentationConfig(**moved | {key: 1.0}), SIZE)(clip, rng(seed))
        assert torch.equal(after.label, plain.label)
        differs = (after.frames != plain.frames).any(1)[0]
        assert not differs[~torch.isin(after.label, torch.tensor(is_its_side))].any()
        changed += int(differs.any())
    assert changed > 20


@pytest.mark.parametrize(("key", "side"), [("pale_tissue", 0), ("reflections", 2)])
def test_a_study_asks_for_it_by_a_probability(key: str, side: int) -> None:
    frames, label = red_tissue_and_grey_steel(2)
    clip = Clip(frames.to(torch.uint8), label)
    augment = Augmentation(AugmentationConfig(**STILL | {key: 0.5}), SIZE)
    changed = 0
    for seed in range(100):
        after = augment(clip, rng(seed))
        assert torch.equal(after.label, label)
        differs = (after.frames != clip.frames).any(1)[0]
        changed += bool(differs.any())
        assert not differs[label != side].any()
    assert 35 < changed < 65

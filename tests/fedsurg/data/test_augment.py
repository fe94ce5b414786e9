"""Augmentation: one change per clip, the same for all frames and for the label."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedsurg.data.augment import Augmentation
from fedsurg.data.clips import Clip
from fedsurg.data.labels import IGNORE
from fedsurg.data.normalisation import normalise
from fedsurg.study.config import AugmentationConfig

SIZE = (48, 64)
STILL = {"flip": False, "scale": (1.0, 1.0), "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
MOVED_ONLY = AugmentationConfig(brightness=0, contrast=0, saturation=0, hue=0, rotation=30)


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_clip(length: int = 3) -> Clip:
    frames = torch.randint(0, 256, (length, 3, *SIZE), dtype=torch.uint8, generator=rng(7))
    return Clip(frames, torch.randint(0, 3, SIZE, generator=rng(8)))


def painted_clip() -> Clip:
    """Every frame shows its label: white where the label is 1."""
    label = torch.zeros(SIZE, dtype=torch.int64)
    label[10:30, 5:40] = 1
    return Clip((255 * label).to(torch.uint8).expand(3, 3, *SIZE), label)


def test_nothing_configured_changes_nothing() -> None:
    clip = random_clip()
    same = Augmentation(AugmentationConfig(**STILL), SIZE)(clip, rng(0))
    assert torch.equal(same.frames, clip.frames)
    assert torch.equal(same.label, clip.label)


def test_flip_mirrors_all_frames_and_the_label_in_half_of_the_clips() -> None:
    clip = random_clip()
    augment = Augmentation(AugmentationConfig(**STILL | {"flip": True}), SIZE)
    flipped = 0
    for seed in range(200):
        changed = augment(clip, rng(seed))
        if torch.equal(changed.frames, clip.frames):
            assert torch.equal(changed.label, clip.label)
        else:
            assert torch.equal(changed.frames, clip.frames.flip(-1))
            assert torch.equal(changed.label, clip.label.flip(-1))
            flipped += 1
    assert 70 < flipped < 130


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**62))
def test_frames_and_label_move_together(seed: int) -> None:
    changed = Augmentation(MOVED_ONLY, SIZE)(painted_clip(), rng(seed))
    inside = changed.label != IGNORE
    for frame in changed.frames:
        differing = ((frame[0] > 127) != (changed.label == 1)) & inside
        assert differing.float().mean() < 0.03  # along the outline, where bilinear and nearest may disagree


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**62))
def test_equal_frames_stay_equal(seed: int) -> None:
    """So whatever was drawn, it was drawn once for the clip."""
    still = random_clip(1)
    clip = Clip(still.frames.expand(4, -1, -1, -1), still.label)
    changed = Augmentation(AugmentationConfig(rotation=20, blur=0.5), SIZE)(clip, rng(seed))
    assert (changed.frames == changed.frames[0]).all()


def test_larger_frames_are_cropped_anywhere() -> None:
    """A frame of twice the size, white where its label is 1: a half of each side comes out, now here, now there."""
    label = painted_clip().label.repeat_interleave(2, 0).repeat_interleave(2, 1)
    clip = Clip((255 * label).to(torch.uint8).expand(2, 3, -1, -1), label)
    shares = []
    for seed in range(40):
        changed = Augmentation(AugmentationConfig(**STILL), SIZE)(clip, rng(seed))
        assert changed.frames.shape[-2:] == changed.label.shape == SIZE
        inside = changed.label != IGNORE
        assert inside.float().mean() > 0.95  # a shift by a part of a pixel may leave a border
        assert (((changed.frames[0, 0] > 127) != (changed.label == 1)) & inside).float().mean() < 0.03
        shares.append(float((changed.label == 1).float().mean()))
    assert min(shares) < 0.2 < 0.6 < max(shares)


def test_thin_instruments_are_enlarged_and_shown() -> None:
    """A bar of 2 of 48 rows: to be 6 wide, it is enlarged three times, and most crops show it. Wide ones stay."""
    config = AugmentationConfig(**STILL | {"apparent_width": 6 / 48})
    thin, wide = torch.zeros(SIZE, dtype=torch.int64), torch.zeros(SIZE, dtype=torch.int64)
    thin[40:42], wide[20:30] = 1, 1
    clips = [Clip((255 * label).to(torch.uint8).expand(2, 3, *SIZE), label) for label in (thin, wide)]
    changed = [[Augmentation(config, SIZE)(clip, rng(seed)).label for seed in range(60)] for clip in clips]
    rows = [int((label == 1).sum(0).amax()) for label in changed[0]]
    assert set(rows) <= {0, *range(5, 8)}  # nothing, or about three times two; less where the crop's border cuts
    assert 0.7 < sum(row > 0 for row in rows) / 60 < 0.98
    assert all(torch.equal(label, wide) for label in changed[1])


def test_frames_of_a_magnified_site_are_not_enlarged_again() -> None:
    """A bar of 6 of 96 rows is 6 rows wide in a crop of 48, where `apparent_width` wants it."""
    config = AugmentationConfig(**STILL | {"apparent_width": 6 / 48})
    label = torch.zeros(2 * SIZE[0], 2 * SIZE[1], dtype=torch.int64)
    label[45:51] = 1
    clip = Clip((255 * label).to(torch.uint8).expand(1, 3, *label.shape), label)
    rows = {int((Augmentation(config, SIZE)(clip, rng(seed)).label == 1).sum(0).amax()) for seed in range(40)}
    assert max(rows) == 6


def test_crops_of_enlarged_clips_stay_on_the_frame() -> None:
    config = AugmentationConfig(**STILL | {"apparent_width": 0.5, "flip": True})
    for seed in range(40):
        changed = Augmentation(config, SIZE)(painted_clip(), rng(seed))
        inside = changed.label != IGNORE
        assert inside.float().mean() > 0.95
        assert (((changed.frames[0, 0] > 127) != (changed.label == 1)) & inside).float().mean() < 0.05


def test_the_label_has_no_new_classes() -> None:
    labels = [Augmentation(MOVED_ONLY, SIZE)(random_clip(1), rng(seed)).label for seed in range(30)]
    assert set(torch.stack(labels).unique().tolist()) == {0, 1, 2, IGNORE}
    assert all(label.dtype == torch.int64 and label.shape == SIZE for label in labels)


def test_shrunk_frames_are_surrounded_by_ignored_pixels() -> None:
    config = AugmentationConfig(**STILL | {"scale": (0.5, 0.5)})
    frames = torch.full((2, 3, *SIZE), 200, dtype=torch.uint8)
    changed = Augmentation(config, SIZE)(Clip(frames, torch.ones(SIZE, dtype=torch.int64)), rng(3))
    kept = changed.label == 1
    assert kept.float().mean() == pytest.approx(0.25, abs=0.03)
    assert (changed.label[~kept] == IGNORE).all()
    assert (changed.frames[:, :, kept] > 90).all()  # at the very edge half black
    assert (changed.frames[:, :, ~kept] < 110).all()


def test_enlarged_frames_fill_the_picture() -> None:
    config = AugmentationConfig(**STILL | {"scale": (2.0, 2.0)})
    for seed in range(20):
        changed = Augmentation(config, SIZE)(painted_clip(), rng(seed))
        assert not (changed.label == IGNORE).any()


def test_same_seed_same_clip() -> None:
    augment = Augmentation(AugmentationConfig(rotation=20, blur=0.5, noise=0.1), SIZE)
    first, second, other = (augment(random_clip(), rng(seed)).frames for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_input_is_left_alone() -> None:
    clip = random_clip()
    frames, label = clip.frames.clone(), clip.label.clone()
    Augmentation(AugmentationConfig(noise=0.1), SIZE)(clip, rng(1))
    assert torch.equal(clip.frames, frames)
    assert torch.equal(clip.label, label)


def grey_and_colour() -> Tensor:
    frames = torch.full((1, 3, *SIZE), 100, dtype=torch.uint8)
    frames[:, 0, :, 32:] = 180
    return frames


@pytest.mark.parametrize("key", ["brightness", "contrast", "saturation", "hue"])
def test_each_colour_key_works_alone(key: str) -> None:
    config = AugmentationConfig(**STILL | {key: 0.4})
    clip = Clip(grey_and_colour(), torch.zeros(SIZE, dtype=torch.int64))
    changed = Augmentation(config, SIZE)(clip, rng(5)).frames
    assert not torch.equal(changed, clip.frames)
    if key in ("saturation", "hue"):  # grey has neither
        assert ((changed - clip.frames.float())[..., :32].abs() <= 1).all()


def test_hue_half_a_turn_keeps_luma() -> None:
    """Red (180, 100, 100) has luma 0.299 * 180 + 0.701 * 100 = 123.9, before and after."""
    config = AugmentationConfig(**STILL | {"hue": 0.5})
    clip = Clip(grey_and_colour(), torch.zeros(SIZE, dtype=torch.int64))
    for seed in range(5):
        red, green, blue = Augmentation(config, SIZE)(clip, rng(seed)).frames[0, :, 0, 40].tolist()
        assert 0.299 * red + 0.587 * green + 0.114 * blue == pytest.approx(123.9, abs=1)


def test_noise_is_bounded_by_its_key() -> None:
    config = AugmentationConfig(**STILL | {"noise": 0.1})
    clip = Clip(torch.full((2, 3, *SIZE), 128, dtype=torch.uint8), torch.zeros(SIZE, dtype=torch.int64))
    deviations = [float(Augmentation(config, SIZE)(clip, rng(seed)).frames.float().std()) for seed in range(20)]
    assert 0 < max(deviations) < 0.11 * 255


def test_normalise_takes_out_imagenets_mean_and_deviation() -> None:
    frames = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1)
    # (0 - 0.485) / 0.229, (128/255 - 0.456) / 0.224, (1 - 0.406) / 0.225
    assert normalise(frames).flatten().tolist() == pytest.approx([-2.117904, 0.205182, 2.64], abs=1e-5)

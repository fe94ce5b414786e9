"""What the encoder sees of a frame: nothing of exposure and white balance, grey apart from tissue."""

import pytest
import torch
from torch import Tensor

from fedsurg.data.normalisation import normalise
from fedsurg.models.colour import log_opponent
from fedsurg.models.network import SegmentationNetwork, build_network
from fedsurg.study.config import NetworkConfig


def scene() -> Tensor:
    """(1,3,8,8) bytes: red tissue, and a grey shaft as bright at the left and half as bright at the right."""
    frame = torch.empty(1, 3, 8, 8, dtype=torch.uint8)
    frame[0] = torch.tensor([200, 80, 60], dtype=torch.uint8).view(3, 1, 1)
    frame[0, :, 3:5, :4], frame[0, :, 3:5, 4:] = 120, 60
    return frame


def seen(frame: Tensor) -> Tensor:
    return log_opponent(normalise(frame))


def test_grey_is_told_from_tissue_by_colour_at_any_brightness() -> None:
    _, red_green, yellow_blue = seen(scene())[0]
    for channel in (red_green, yellow_blue):
        assert torch.allclose(channel[3, 0], channel[3, 7], atol=1e-3)
        assert channel[0, 0] - channel[3, 0] > 1.5


def test_each_channel_of_each_frame_has_mean_zero_and_deviation_near_one() -> None:
    torch.manual_seed(0)
    frames = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    frames[1] = frames[1] // 4 + 100
    found = seen(frames)
    assert torch.allclose(found.mean((-2, -1)), torch.zeros(2, 3), atol=1e-4)
    lively, even = found.std((-2, -1))
    assert ((lively > 0.7) & (lively < 1)).all() and ((even > 0) & (even < lively)).all()
    assert torch.equal(found[:1], seen(frames[:1]))  # of a frame, whatever is beside it in the batch


@pytest.mark.parametrize("gain", [(0.7, 0.7, 0.7), (1.0, 0.8, 0.9)])
def test_exposure_and_white_balance_hardly_change_it(gain: tuple[float, float, float]) -> None:
    frame = scene()
    other = (frame * torch.tensor(gain).view(3, 1, 1)).round().to(torch.uint8)
    assert (seen(frame) - seen(other)).abs().max() < 0.25
    assert (normalise(frame) - normalise(other)).abs().max() > 0.25


def test_an_even_frame_is_nothing() -> None:
    for level in (0, 90, 255):
        assert torch.equal(seen(torch.full((1, 3, 4, 4), level, dtype=torch.uint8)), torch.zeros(1, 3, 4, 4))


def network(colour: str) -> SegmentationNetwork:
    config = NetworkConfig.model_validate(
        {
            "colour": colour,
            "pyramid_channels": 32,
            "segmentation_channels": 32,
            "temporal": {"frames": 1, "pooling": [8]},
        }
    )
    return build_network(config, 4, seed=0).eval()


def test_the_encoder_sees_what_it_is_told_to_in_a_clip_and_in_a_stream() -> None:
    clip = normalise(torch.randint(0, 256, (1, 2, 3, 64, 64), dtype=torch.uint8))
    plain, log = network("rgb"), network("log_opponent")
    assert torch.equal(log(clip).logits, plain(log_opponent(clip)).logits)
    assert not torch.equal(log(clip).logits, plain(clip).logits)
    _, state = log.step(clip[:, 0], None)
    assert torch.allclose(log.step(clip[:, 1], state)[0], log(clip).logits, atol=1e-5)


def test_what_is_added_to_fill_the_deepest_cells_does_not_count() -> None:
    seen_by_encoder: list[Tensor] = []
    log = network("log_opponent")
    log.encoder.register_forward_pre_hook(lambda _, frames: seen_by_encoder.append(frames[0]))
    frame = normalise(torch.randint(0, 256, (1, 1, 3, 64, 40), dtype=torch.uint8))
    log(frame)
    assert seen_by_encoder[0].shape[-2:] == (64, 64)
    assert torch.equal(seen_by_encoder[0][..., :40], log_opponent(frame[:, 0]))

"""What the network promises: shapes, causality, streams, exact starts, names and parts."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fedsurg.errors import NetworkError
from fedsurg.models import SegmentationNetwork, canonical_name

Build = Callable[..., SegmentationNetwork]
Shake = Callable[[SegmentationNetwork], SegmentationNetwork]


def test_shapes_and_float32(build: Build, clip: Tensor, text: Tensor) -> None:
    output = build(text_vector=text)(clip)
    assert output.logits.shape == (2, 3, 64, 96)
    assert output.fused.shape == (2, 32, 16, 24)
    assert output.deepest.shape == (2, 256, 2, 3)
    assert output.logits.dtype == torch.float32


@pytest.mark.parametrize("size", [(70, 100), (33, 64), (97, 31)])
def test_sizes_that_32_does_not_divide(build: Build, size: tuple[int, int]) -> None:
    h, w = size
    output = build()(torch.randn(1, 2, 3, h, w))
    assert output.logits.shape == (1, 3, h, w)
    assert output.fused.shape == (1, 32, -(-h // 4), -(-w // 4))
    assert output.deepest.shape == (1, 256, -(-h // 32), -(-w // 32))


def test_padding_repeats_the_border(build: Build, shake: Shake) -> None:
    network = shake(build())
    frame = torch.randn(1, 1, 3, 64, 70)
    padded = torch.cat([frame, frame[..., -1:].expand(-1, -1, -1, -1, 26)], dim=-1)
    with torch.no_grad():
        assert torch.equal(network(frame).logits, network(padded).logits[..., :70])


def test_one_number(build: Build, shake: Shake, text: Tensor) -> None:
    """A change of initialisation, order of layers or arithmetic shows here.

    Obtained by running this very code when the network was first written (torch 2.15, CPU, one thread):
    seed 3, every parameter moved by `shake`, frames that rise linearly from -1 to 1. Second routes to the
    arithmetic of the parts are in test_temporal_layer.py and test_text_gate.py.
    """
    network = shake(build(text_vector=text, adapters=True))
    frames = torch.linspace(-1, 1, 2 * 3 * 64 * 64).reshape(1, 2, 3, 64, 64)
    with torch.no_grad():
        assert network(frames).logits.abs().mean().item() == pytest.approx(0.82577, rel=1e-3)


def test_must_hold_6_parts_that_start_at_zero_change_no_bit(build: Build, clip: Tensor, text: Tensor) -> None:
    """Gate, adapters and temporal layer, alone and together, give the bare network's logits exactly."""
    with torch.no_grad():
        bare = build(temporal=False)(clip[:, -1:])
        for extras in ({"text_vector": text}, {"adapters": True}, {"text_vector": text, "adapters": True}):
            assert torch.equal(build(temporal=False, **extras)(clip[:, -1:]).logits, bare.logits)
            full = build(**extras)(clip)
            assert torch.equal(full.logits, bare.logits)
            assert torch.equal(full.deepest, bare.deepest)


def test_parts_take_effect_once_they_are_moved(build: Build, clip: Tensor, text: Tensor) -> None:
    network = build(text_vector=text, adapters=True)
    for part in ("gate", "adapters", "temporal"):
        moved = copy.deepcopy(network)
        tensors = moved.tensors()
        with torch.no_grad():
            for name in (name for name, of in moved.parts().items() if of == part):
                tensors[name].add_(0.1)
            assert not torch.allclose(moved(clip).logits, network(clip).logits, atol=1e-4), part


def test_must_hold_7_later_frames_do_not_matter(build: Build, shake: Shake, clip: Tensor) -> None:
    """Frame t, t = 0..3, with frames after t replaced: in a stream and by clips, the output stays."""
    network = shake(build())
    other = clip.clone()
    other[:, 2:] += 1
    before, after = _stream(network, clip), _stream(network, other)
    for t in (0, 1):
        assert torch.equal(before[t], after[t])
    for t in (2, 3):
        assert not torch.allclose(before[t], after[t], atol=1e-3)


def test_the_past_does_matter(build: Build, shake: Shake, clip: Tensor) -> None:
    network = shake(build())
    with torch.no_grad():
        now = network(clip).logits
        for t in range(3):
            other = clip.clone()
            other[:, t] += 1
            assert not torch.allclose(network(other).logits, now, atol=1e-3), t


def test_must_hold_7_clip_and_stream_agree(build: Build, shake: Shake, text: Tensor) -> None:
    """From the first frame (history repeated) until beyond m + 1 frames (history rolls)."""
    network = shake(build(text_vector=text, adapters=True)).eval()
    video = torch.randn(2, 6, 3, 64, 70)
    with torch.no_grad():
        for t, logits in enumerate(_stream(network, video)):
            window = video[:, max(0, t - network.history) : t + 1]
            assert torch.allclose(network(window).logits, logits, atol=1e-5), t


def test_short_history_repeats_the_oldest_frame(build: Build, shake: Shake, clip: Tensor) -> None:
    network = shake(build())
    with torch.no_grad():
        for t in (1, 2, 3):
            short = clip[:, :t]
            oldest = short[:, :1] if t > 1 else clip[:, :1]
            filled = torch.cat([oldest.expand(-1, 4 - t, -1, -1, -1), short], dim=1)
            assert torch.allclose(network(short).logits, network(filled).logits, atol=1e-5), t


def test_a_stream_encodes_each_frame_once(build: Build, clip: Tensor) -> None:
    network = build()
    seen: list[int] = []
    network.encoder.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    _stream(network, clip)
    assert seen == [2, 2, 2, 2]
    network(clip[:, :1])  # a single frame is its own history and is encoded once as well
    assert seen[4:] == [2]


@pytest.mark.parametrize(("temporal", "frames"), [(True, 5), (False, 2), (True, 0)])
def test_clips_of_a_wrong_length(build: Build, temporal: bool, frames: int) -> None:
    network = build(temporal=temporal)
    with pytest.raises(NetworkError, match=f"clips of {frames} frames: this network takes 1 to {network.history + 1}"):
        network(torch.zeros(1, frames, 3, 64, 64))


def test_a_stream_that_changes_its_batch(build: Build, clip: Tensor) -> None:
    network = build()
    _, state = network.step(clip[:, 0], None)
    with pytest.raises(NetworkError, match="streams: the state holds 2, the frame 1"):
        network.step(clip[:1, 1], state)


def test_the_same_tensors_start_equal_with_and_without_extras(build: Build, text: Tensor) -> None:
    bare = build(temporal=False).tensors()
    for network in (
        build(),
        build(temporal=False, text_vector=text),
        build(temporal=False, adapters=True),
        build(text_vector=text, adapters=True),
    ):
        tensors = network.tensors()
        assert all(torch.equal(bare[name], tensors[name]) for name in bare)
    full = build(text_vector=text, adapters=True).tensors()
    gated = build(temporal=False, text_vector=text).tensors()
    assert all(torch.equal(gated[name], full[name]) for name in gated)
    assert not torch.equal(build(seed=4).tensors()["head.weight"], bare["head.weight"])


def test_building_leaves_the_global_random_state_alone(build: Build, text: Tensor) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    build(text_vector=text, adapters=True)
    assert torch.equal(torch.rand(3), expected)


def test_every_parameter_has_a_part_and_a_name(build: Build, text: Tensor) -> None:
    network = copy.deepcopy(build(text_vector=text, adapters=True))
    parts, tensors = network.parts(), network.tensors()
    assert set(parts.values()) == {"encoder", "query", "temporal", "gate", "adapters", "decoder", "head"}
    assert list(parts) == list(tensors)
    assert {id(tensor) for tensor in tensors.values()} == {id(parameter) for parameter in network.parameters()}
    assert all(tensor.requires_grad for tensor in tensors.values())


def test_a_module_that_nobody_marked(build: Build) -> None:
    network = build()
    network.extra = torch.nn.Linear(2, 2)
    with pytest.raises(NetworkError, match=r"parameter 'extra\.weight' belongs to no part"):
        network.parts()


def test_adapters_do_not_rename_shared_tensors(build: Build) -> None:
    plain, adapted = build().parts(), build(adapters=True).parts()
    assert [name for name, part in adapted.items() if part != "adapters"] == list(plain)
    assert all(adapted[name] == part for name, part in plain.items())


def test_canonical_names() -> None:
    assert canonical_name("encoder.body.stages_0.blocks.1.attn.kv.base_layer.weight") == (
        "encoder.body.stages_0.blocks.1.attn.kv.weight"
    )
    assert canonical_name("attn.proj.lora_B.site.weight") == "attn.proj.lora_B.weight"
    assert canonical_name("site.head.bias") == "site.head.bias"


def test_loading_tensors(build: Build, shake: Shake, clip: Tensor, text: Tensor) -> None:
    source, target = shake(build(adapters=True)), build(text_vector=text, adapters=True)
    target.load_tensors(source.tensors())
    with torch.no_grad():
        assert torch.equal(target(clip).logits, source(clip).logits)
    assert target.tensors()["head.weight"] is not source.tensors()["head.weight"]


def test_loading_tensors_that_do_not_fit(build: Build) -> None:
    network = build()
    before = network.tensors()["head.bias"].clone()
    good = {"head.bias": before + 1}
    with pytest.raises(NetworkError, match=r"tensor 'nose\.weight': this network has none"):
        network.load_tensors(good | {"nose.weight": torch.zeros(1)})
    with pytest.raises(NetworkError, match=r"tensor 'head\.weight': \(3, 32, 1, 1\) needed, got \(3, 32\)"):
        network.load_tensors(good | {"head.weight": torch.zeros(3, 32)})
    with pytest.raises(NetworkError, match="tensors are missing, the first is 'encoder"):
        network.load_tensors(good, strict=True)
    assert torch.equal(network.tensors()["head.bias"], before)  # all or none
    network.load_tensors(good)
    assert torch.equal(network.tensors()["head.bias"], before + 1)


def test_a_decoder_width_that_cannot_be_normalised(build: Build) -> None:
    with pytest.raises(NetworkError, match=r"network\.segmentation_channels is 50.*use 64"):
        build(config={"segmentation_channels": 50})


@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("mixed", [False, True])
def test_gradients_reach_every_parameter(
    build: Build, shake: Shake, clip: Tensor, text: Tensor, frames: int, mixed: bool
) -> None:
    """Also under bf16 autocast, whose cache of weight casts must not hold casts made without gradient."""
    network = shake(build(text_vector=text, adapters=True))
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        logits = network(clip[:, -frames:]).logits
    assert logits.dtype == torch.float32
    logits.square().mean().backward()
    without = [name for name, tensor in network.tensors().items() if tensor.grad is None or not tensor.grad.any()]
    # adding one vector to every key changes no softmax: the key's bias has no gradient by construction
    assert [name for name in without if not name.endswith("core.key.bias")] == []


def test_mixed_precision_stays_close(build: Build, shake: Shake, clip: Tensor, text: Tensor) -> None:
    network = shake(build(text_vector=text, adapters=True))
    with torch.no_grad():
        exact = network(clip).logits
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(clip).logits
            stream, _ = network.step(clip[:, -1], None)
    assert stream.dtype == mixed.dtype == torch.float32
    assert (mixed - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.parametrize("through", [False, True])
def test_gradients_through_the_past_are_a_choice(build: Build, shake: Shake, clip: Tensor, through: bool) -> None:
    network = shake(build(config={"temporal": {"history_gradient": through}}))
    frames = clip.requires_grad_()
    network(frames).logits.sum().backward()
    assert frames.grad is not None
    assert bool(frames.grad[:, :-1].any()) is through
    assert frames.grad[:, -1].any()


def _stream(network: SegmentationNetwork, video: Tensor) -> list[Tensor]:
    """Logits of every frame of (b,t,3,h,w), one after the other."""
    outputs, state = [], None
    for frame in video.unbind(1):
        logits, state = network.step(frame, state)
        outputs.append(logits)
    return outputs

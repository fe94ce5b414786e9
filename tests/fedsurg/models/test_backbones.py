"""Which backbones are taken, and what the others are told."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from fedsurg.errors import NetworkError
from fedsurg.models import SegmentationNetwork, backbones, count_parameters, supported_encoders
from fedsurg.models.adapters import add_adapters
from fedsurg.models.encoder import Encoder
from fedsurg.study.config import AdaptersConfig, NetworkConfig

Build = Callable[..., SegmentationNetwork]


def test_the_list_is_quick_and_holds_several_families() -> None:
    start = time.process_time()
    names = supported_encoders()
    assert time.process_time() - start < 5
    assert {"pvt_v2_b0", "pvt_v2_b5", "twins_pcpvt_small", "nextvit_small", "swiftformer_xs"} <= set(names)


@pytest.mark.parametrize("name", ["pvt_v2_b1", *list(backbones.FAMILIES.values())[1:]])
def test_another_backbone_works_by_name(build: Build, name: str) -> None:
    """One of every family: with adapters, in a stream, in training, at a size 32 does not divide."""
    network = build(adapters=True, config={"encoder": name})
    counts, parts, tensors = count_parameters(network), network.parts(), network.tensors()
    assert counts["adapters"] > 0
    assert sum(tensors[key].numel() for key, part in parts.items() if part == "query") > 0
    frames = torch.randn(1, 2, 3, 64, 70)
    logits, state = network.step(frames[:, 0], None)
    logits, _ = network.step(frames[:, 1], state)
    output = network(frames)
    assert torch.allclose(output.logits, logits, atol=1e-4)
    assert 1e-3 < output.deepest.std() < 1e3  # a random backbone keeps its signal
    output.logits.square().mean().backward()
    assert all(tensors[key].grad.isfinite().all() for key, part in parts.items() if part == "query")


def test_batch_statistics_are_constants(build: Build) -> None:
    network = build(config={"encoder": "swiftformer_xs"}).train()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network(torch.randn(2, 1, 3, 64, 64) + 5)
    assert before
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())
    again = build(config={"encoder": "swiftformer_xs"})
    assert all(torch.equal(buffer, before[name]) for name, buffer in again.named_buffers())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet18", "has no query projection of its own"),
        ("twins_svt_small", "fuses query, key and value"),
        ("swin_tiny_patch4_window7_224", "has no query projection of its own"),
        ("eva02_base_patch14_224", r"has features at strides \[14, 14, 14\]"),
        ("efficientformerv2_s0", "does not take frames of any size"),
        ("no_such_net", "timm has no model 'no_such_net'"),
    ],
)
def test_a_backbone_that_does_not_fit_names_those_that_do(build: Build, name: str, reason: str) -> None:
    with pytest.raises(NetworkError, match=rf"network\.encoder: .*{reason}.*encoders that work: pvt_v2_b0, .*nextvit"):
        build(config={"encoder": name})


def test_targets_that_a_backbone_lacks(build: Build) -> None:
    adapters = AdaptersConfig(targets=("proj",))
    network = build(adapters=True, config={"adapters": adapters})
    assert all(".proj." in name for name, part in network.parts().items() if part == "adapters")
    with pytest.raises(NetworkError, match=r"network\.adapters\.targets: .* no 'kv' projection"):
        add_adapters(torch.nn.Sequential(torch.nn.Linear(2, 2)), NetworkConfig().adapters)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    """A timm checkpoint, its classifier included."""
    torch.manual_seed(7)
    full = timm.create_model("pvt_v2_b0", num_classes=10)
    file = tmp_path / f"weights.{suffix}"
    save_file(full.state_dict(), file) if suffix == "safetensors" else torch.save(full.state_dict(), file)
    encoder = Encoder("pvt_v2_b0", str(file))
    frames = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(encoder(frames)[-1], full.forward_features(frames), atol=1e-6)


def test_weights_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    foreign, broken = tmp_path / "foreign.safetensors", tmp_path / "broken.safetensors"
    save_file({"x": torch.zeros(1)}, foreign)
    broken.write_bytes(b"no tensors")
    with pytest.raises(NetworkError, match=r"lacks \d+ tensors of pvt_v2_b0"):
        Encoder("pvt_v2_b0", str(foreign))
    with pytest.raises(NetworkError, match=r"broken\.safetensors does not fit pvt_v2_b0"):
        Encoder("pvt_v2_b0", str(broken))
    empty, rows = tmp_path / "empty.pth", tmp_path / "rows.pth"
    empty.touch()
    torch.save([1, 2], rows)
    for file in (empty, rows):
        with pytest.raises(NetworkError, match=rf"{file.name} does not fit pvt_v2_b0"):
            Encoder("pvt_v2_b0", str(file))
    with pytest.raises(NetworkError, match=r"'absent\.pth' is no local file.*or leave it empty for random weights"):
        Encoder("pvt_v2_b0", "absent.pth")


def test_new_adapters_of_another_family_change_no_bit(build: Build) -> None:
    frames, config = torch.randn(1, 1, 3, 64, 64), {"encoder": "nextvit_small"}
    with torch.no_grad():
        assert torch.equal(build(config=config)(frames).logits, build(config=config, adapters=True)(frames).logits)

"""The counts of docs/decisions/0003: they tie this network to the published one (19.71 MB per direction)."""

import pytest
import torch

from fedsurg.models import build_network, count_parameters
from fedsurg.study.config import NetworkConfig, TemporalConfig

BARE = NetworkConfig(temporal=TemporalConfig(enabled=False))


def test_the_bare_network_has_the_published_size() -> None:
    network = build_network(BARE, 4, seed=0)
    counts = count_parameters(network)
    assert counts == {
        "encoder": 3_409_760,
        "temporal": 0,
        "gate": 0,
        "adapters": 0,
        "decoder": 1_755_904,
        "head": 516,
    }
    assert sum(parameter.numel() for parameter in network.parameters()) == 5_166_180


def test_the_query_projections_have_193_536_parameters() -> None:
    network = build_network(BARE, 4, seed=0)
    tensors, parts = network.tensors(), network.parts()
    queries = [name for name, part in parts.items() if part == "query"]
    assert len(queries) == 16  # weight and bias of 8 blocks
    assert sum(tensors[name].numel() for name in queries) == 193_536


def test_the_default_extras() -> None:
    counts = count_parameters(build_network(NetworkConfig(), 4, text_vector=torch.ones(384), adapters=True, seed=0))
    assert counts["temporal"] == 109_312
    # text 384 x 256 + 256 x 256; bottleneck 512 x 16 + 16; back 16 x 256 + 256
    assert counts["gate"] == 163_840 + 8_208 + 4_352
    # rank 4, two blocks per stage: kv c -> 2c and proj c -> c give 4 (3c + 2c) = 20 c, c = 32, 64, 160, 256
    assert counts["adapters"] == 2 * 20 * (32 + 64 + 160 + 256)
    assert (counts["encoder"], counts["decoder"], counts["head"]) == (3_409_760, 1_755_904, 516)


@pytest.mark.parametrize("classes", [2, 7])
def test_the_head_follows_the_classes(classes: int) -> None:
    assert count_parameters(build_network(BARE, classes, seed=0))["head"] == 129 * classes

"""Small, deterministic networks for the tests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsurg.models import SegmentationNetwork, build_network
from fedsurg.study.config import NetworkConfig, TemporalConfig

Build = Callable[..., SegmentationNetwork]
Shake = Callable[[SegmentationNetwork], SegmentationNetwork]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread: the same sums in the same order, and no other test is slowed down."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def text() -> Tensor:
    """A text vector (e = 12)."""
    return torch.linspace(-1, 2, 12)


@pytest.fixture
def build() -> Build:
    """Build a network with a narrow decoder; `temporal=False` leaves the temporal layer out."""

    def make(*, temporal: bool = True, seed: int = 3, config: dict[str, Any] | None = None, **extras: Any) -> Any:
        layer = TemporalConfig(enabled=temporal)
        values = {"pyramid_channels": 32, "segmentation_channels": 32, "temporal": layer} | (config or {})
        return build_network(NetworkConfig(**values), 3, seed=seed, **extras)

    return make


@pytest.fixture
def clip() -> Tensor:
    """Two clips of four frames, (2,4,3,64,96)."""
    return torch.randn(2, 4, 3, 64, 96, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def shake() -> Shake:
    """Move every parameter off its start, so that zero-initialised parts take effect."""

    def move(network: SegmentationNetwork) -> SegmentationNetwork:
        generator = torch.Generator().manual_seed(11)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
        return network

    return move

"""Shares of a batch side by side: the same training as in one pass, on more cores."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsurg.data.labels import LabelSpace
from fedsurg.data.loader import Batch
from fedsurg.learning.local import Schedule, train
from fedsurg.learning.loss import LossWeights, SegmentationLoss
from fedsurg.learning.optimiser import Optimiser
from fedsurg.learning.side_by_side import SideBySide
from fedsurg.models.network import Output, SegmentationNetwork, network_of
from fedsurg.study import Study

CPU = torch.device("cpu")
SIZE = 64
PARTS = LabelSpace(("background", "shaft", "wrist", "clasper"), ((0,), (1,), (2,), (3,)), (), 4)


@pytest.fixture(params=[2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(1)


@pytest.fixture
def study(tiny_study: Callable[[], Study]) -> Study:
    return tiny_study()


@pytest.fixture
def network(study: Study) -> SegmentationNetwork:
    return network_of(study).train()


def clips(count: int = 5) -> Tensor:
    return torch.randn(count, 2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def loss_of(output: Output) -> Tensor:
    """Of the whole batch, and not a sum over its clips; of more than one tensor, and not of all."""
    return output.logits.softmax(1).mean((0, 2, 3)).square().sum().log() + output.maps[2].square().mean().log()


def gradients(network: SegmentationNetwork, output: Output) -> dict[str, Tensor]:
    network.zero_grad()
    loss_of(output).backward()  # type: ignore[no-untyped-call]
    return {name: value.grad.clone() for name, value in network.tensors().items() if value.grad is not None}


def seen_by_each_pass(monkeypatch: pytest.MonkeyPatch, look: Callable[[Tensor], Any]) -> list[Any]:
    """What `look` gives for each share's frames, in the share's thread, before they pass."""
    whole, seen = SegmentationNetwork.forward, []

    def noted(self: SegmentationNetwork, frames: Tensor) -> Output:
        seen.append(look(frames))
        return whole(self, frames)

    monkeypatch.setattr(SegmentationNetwork, "forward", noted)
    return seen


def side_by_side(network: SegmentationNetwork, frames: Tensor) -> dict[str, Tensor]:
    with SideBySide(network, CPU, "off") as forward:
        return gradients(network, forward(frames))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("count", [1, 2, 5])
def test_outputs_and_gradients_are_those_of_one_pass(network: SegmentationNetwork, count: int) -> None:
    frames = clips(count)
    whole = network(frames)
    expected = gradients(network, whole)
    with SideBySide(network, CPU, "off") as forward:
        joined = forward(frames)
        found = gradients(network, joined)
    for ours, theirs in zip((joined.logits, *joined.maps), (whole.logits, *whole.maps), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max())), name


@pytest.mark.usefixtures("threads")
def test_the_same_threads_give_the_same_bytes(network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever share is ready first."""
    backward, found = torch.autograd.grad, []
    for slow in ("share_0", "share_1"):

        def delayed(*arguments: Any, of: str = slow, **options: Any) -> tuple[Tensor, ...]:
            if threading.current_thread().name == of:
                time.sleep(0.3)
            return backward(*arguments, **options)

        monkeypatch.setattr(torch.autograd, "grad", delayed)
        found.append(side_by_side(network, clips()))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.usefixtures("threads")
def test_what_is_frozen_gets_no_gradient(network: SegmentationNetwork) -> None:
    frozen = next(iter(network.tensors()))
    network.tensors()[frozen].requires_grad_(False)
    found = side_by_side(network, clips())
    assert frozen not in found
    assert found


@pytest.mark.usefixtures("threads")
def test_a_frozen_encoder_gives_maps_without_a_gradient(network: SegmentationNetwork) -> None:
    """As in one pass: a penalty on them adds nothing."""
    for name, value in network.tensors().items():
        value.requires_grad_(network.parts()[name] in ("decoder", "head"))
    found = side_by_side(network, clips())
    assert {network.parts()[name] for name in found} == {"decoder", "head"}


@pytest.mark.usefixtures("threads")
def test_shares_keep_no_casts_for_one_another(network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cast of a weight that a past frame's pass has made, which has no gradient, would train nothing elsewhere."""
    cached = seen_by_each_pass(monkeypatch, lambda _frames: torch.is_autocast_cache_enabled())
    with SideBySide(network, CPU, "bf16") as forward:
        found = gradients(network, forward(clips()))
    assert len(cached) > 1
    assert not any(cached)
    assert found.keys() == side_by_side(network, clips()).keys()


def test_threads_are_given_back(network: SegmentationNetwork, threads: int) -> None:
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="expected input"), SideBySide(network, CPU, "off") as forward:
        assert torch.get_num_threads() == 1
        forward(torch.zeros(4, 2, 5, SIZE, SIZE))
    assert torch.get_num_threads() == threads
    assert threading.active_count() == before


def test_each_thread_has_a_share(network: SegmentationNetwork, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(threads)  # would break if one thread came twice

    def look(frames: Tensor) -> tuple[str, int]:
        together.wait(timeout=60)
        return threading.current_thread().name, len(frames)

    passed = seen_by_each_pass(monkeypatch, look)
    with SideBySide(network, CPU, "off") as forward:
        forward(clips())
    assert len({name for name, _ in passed}) == threads
    assert sum(count for _, count in passed) == 5


def test_one_clip_has_all_threads(network: SegmentationNetwork, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = seen_by_each_pass(monkeypatch, lambda _frames: torch.get_num_threads())
    with SideBySide(network, CPU, "off") as forward:
        forward(clips(1))
        forward(clips(threads))
    assert seen == [threads, *([1] * threads)]


def test_training_is_the_same_on_more_threads(study: Study) -> None:
    """Weights after three steps with the batch's own loss, on one thread and on two."""
    weights = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        network = network_of(study)
        before = {name: value.detach().clone() for name, value in network.tensors().items()}
        rng = torch.Generator().manual_seed(2)
        batches = [(0, Batch(clips(4), torch.randint(0, 4, (4, SIZE, SIZE), generator=rng))) for _ in range(3)]
        trained = train(
            network,
            [SegmentationLoss(PARTS, LossWeights(0.7, 0.3))],
            batches,
            Optimiser(network.tensors(), 1e-3, 0.01, 1.0),
            Schedule(0, 3, 0, "constant"),
            study.local,
            CPU,
        )
        weights.append((trained.loss, {name: value - before[name] for name, value in network.tensors().items()}))
    torch.set_num_threads(1)
    (loss, alone), (also, together) = weights
    assert also == pytest.approx(loss, rel=1e-4)
    moved = torch.cat([change.flatten() for change in alone.values()])
    differs = torch.cat([(change - together[name]).flatten() for name, change in alone.items()])
    assert float(differs.detach().norm()) < 0.1 * float(moved.detach().norm())

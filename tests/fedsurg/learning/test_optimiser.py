"""AdamW by name: numbers, groups, state, and the schedule."""

import math

import pytest
import torch
from torch import Tensor, nn

from fedsurg.learning.local import Schedule
from fedsurg.learning.optimiser import Optimiser, freeze, rate_share, seed_everything
from fedsurg.study.config import LocalConfig


def parameters() -> dict[str, nn.Parameter]:
    return {"matrix": nn.Parameter(torch.ones(2, 2)), "bias": nn.Parameter(torch.ones(2))}


def square(values: dict[str, nn.Parameter]) -> Tensor:
    return sum((value.square().sum() for value in values.values()), torch.zeros(()))


def optimiser(values: dict[str, nn.Parameter], **options: float) -> Optimiser:
    return Optimiser(values, 0.1, options.get("decay", 0.0), options.get("clip", 100.0), muon=options.get("muon", 0.0))


def test_the_first_step_moves_by_the_rate() -> None:
    """Adam's first step is the rate times the sign of the gradient; decay takes rate * decay from matrices alone."""
    values = parameters()
    norm = optimiser(values, decay=0.5).step(square(values))
    assert norm == pytest.approx(math.sqrt(6 * 4))
    torch.testing.assert_close(values["matrix"].data, torch.full((2, 2), 1 - 0.1 * 0.5 - 0.1), atol=1e-6, rtol=0)
    torch.testing.assert_close(values["bias"].data, torch.full((2,), 1 - 0.1), atol=1e-6, rtol=0)


def test_share_and_factors_scale_the_rate() -> None:
    values = parameters()
    Optimiser(values, 0.1, 0.0, 100.0, {"bias": 0.5}).step(square(values), share=0.2)
    torch.testing.assert_close(values["matrix"].data, torch.full((2, 2), 0.98), atol=1e-6, rtol=0)
    torch.testing.assert_close(values["bias"].data, torch.full((2,), 0.99), atol=1e-6, rtol=0)


def test_the_gradient_is_clipped() -> None:
    values = {"a": nn.Parameter(torch.tensor([3.0, 4.0]))}
    found = optimiser(values, clip=0.5)
    assert found.step(values["a"].square().sum()) == pytest.approx(10)
    torch.testing.assert_close(found.tensors()["exp_avg/a"], 0.1 * torch.tensor([0.3, 0.4]), atol=1e-6, rtol=1e-4)


def test_a_frozen_tensor_stays() -> None:
    values = parameters()
    freeze(values, ["bias"])
    found = optimiser(values, decay=0.5)
    found.step(square(values))
    assert torch.equal(values["bias"].data, torch.ones(2))
    assert not any("bias" in name for name in found.tensors())


@pytest.mark.parametrize("bad", ["loss", "gradient", "infinite loss alone"])
def test_a_step_that_is_not_finite_changes_nothing(bad: str) -> None:
    values = parameters()
    found = optimiser(values, decay=0.5)
    found.step(square(values))
    before = {name: value.clone() for name, value in {**values, **found.tensors()}.items()}
    loss = {
        "loss": square(values) * math.nan,
        "gradient": (values["bias"] - values["bias"].detach()).sqrt().sum(),
        "infinite loss alone": square(values) + math.inf,
    }[bad]
    assert found.step(loss) == math.inf
    assert all(torch.equal(value, before[name]) for name, value in {**values, **found.tensors()}.items())
    assert found.step(square(values)) < math.inf


def large() -> dict[str, nn.Parameter]:
    chance = torch.Generator().manual_seed(0)
    return {
        "matrix": nn.Parameter(torch.randn(16, 24, generator=chance)),
        "kernel": nn.Parameter(torch.rand(24, 4, 3, 3, generator=chance).to(memory_format=torch.channels_last)),
        "depthwise": nn.Parameter(torch.rand(24, 1, 5, 5, generator=chance)),
        "narrow": nn.Parameter(torch.ones(2, 24)),
        "bias": nn.Parameter(torch.ones(3)),
    }


@pytest.mark.parametrize("muon", [0.0, 1.5])
def test_a_restored_state_goes_on_to_the_last_bit(muon: float) -> None:
    straight, first = large(), large()
    one, two = optimiser(straight, decay=0.1, muon=muon), optimiser(first, decay=0.1, muon=muon)
    for _ in range(4):
        one.step(square(straight))
    for _ in range(2):
        two.step(square(first))
    second = {name: nn.Parameter(value.detach().clone()) for name, value in first.items()}
    three = optimiser(second, decay=0.1, muon=muon)
    three.load_tensors({name: value.clone() for name, value in two.tensors().items()})
    for _ in range(2):
        three.step(square(second))
    assert all(torch.equal(straight[name], second[name]) for name in straight)
    assert all(torch.equal(value, three.tensors()[name]) for name, value in one.tensors().items())


def test_muon_trains_the_matrices_alone_and_evens_out_their_directions() -> None:
    spread = {}
    for muon in (0.0, 1.5):
        values = large()
        before = values["matrix"].detach().clone()
        found = optimiser(values, muon=muon)
        found.step((values["matrix"] @ torch.arange(24.0)[:, None]).square().sum() + square(values))
        singular = torch.linalg.svdvals(values["matrix"].detach() - before)
        spread[muon] = float(singular.sum() / singular.max())
    moments = {key.split("/")[1]: key.split("/")[0] for key in found.tensors()}
    assert moments["matrix"] == moments["kernel"] == "momentum_buffer"
    assert moments["depthwise"] == moments["narrow"] == moments["bias"] == "step"
    assert spread[1.5] > 2 * spread[0.0]  # the gradient is nearly of rank one, and so is AdamW's step


def test_muon_trains_a_kernel_as_the_matrix_of_what_each_output_sees() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.rand(24, 4, 3, 3).to(memory_format=torch.channels_last))
    matrix = nn.Parameter(kernel.detach().reshape(24, 36).clone())
    aim = torch.rand(24, 36)
    beside = {"bias": nn.Parameter(torch.zeros(3))}
    as_kernel, as_matrix = (optimiser({"it": value} | beside, muon=1.5) for value in (kernel, matrix))
    for _ in range(3):
        as_kernel.step((kernel.reshape(24, 36) - aim).square().sum())
        as_matrix.step((matrix - aim).square().sum())
    assert torch.allclose(kernel.detach().reshape(24, 36), matrix.detach(), atol=1e-6)
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def test_a_state_is_copied_not_shared() -> None:
    values = parameters()
    found = optimiser(values)
    found.step(square(values))
    state = {name: value.clone() for name, value in found.tensors().items()}
    other = optimiser(parameters())
    other.load_tensors(state)
    state["exp_avg/bias"].zero_()
    assert other.tensors()["exp_avg/bias"].abs().sum() > 0


def test_no_state_before_the_first_step_and_none_for_strangers() -> None:
    found = optimiser(parameters())
    assert found.tensors() == {}
    found.load_tensors({"exp_avg/other": torch.ones(1), "exp_avg/bias": torch.ones(2)})
    assert found.tensors() == {}


def test_the_schedule_by_hand() -> None:
    assert [rate_share(step, 10, 4, "constant") for step in range(5)] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert rate_share(0, 10, 0, "cosine") == 1.0
    assert rate_share(5, 10, 0, "cosine") == pytest.approx(0.01 + 0.99 / 2)
    assert rate_share(10, 10, 0, "cosine") == pytest.approx(0.01)
    assert rate_share(99, 10, 0, "cosine") == pytest.approx(0.01)
    assert rate_share(7, 10, 4, "cosine") == pytest.approx(0.01 + 0.99 / 2)
    assert rate_share(0, 0, 0, "cosine") == 1.0


def test_rounds_go_on_where_the_schedule_stood() -> None:
    config = LocalConfig(warmup_steps=2)
    whole = Schedule.of(config, 6, 1, 1)
    rounds = [Schedule.of(config, 2, number, 3) for number in (1, 2, 3)]
    assert [part.share(step) for part in rounds for step in (0, 1)] == [whole.share(step) for step in range(6)]


def test_the_same_seed_gives_the_same_numbers() -> None:
    drawn = []
    for seed in (2**63 - 1, 2**63 - 1, 2**63 - 2):  # the largest that `derived_seed` gives
        seed_everything(seed)
        drawn.append(torch.rand(2))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])

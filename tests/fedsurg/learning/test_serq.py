"""SERQ: the domain descriptor, instrument weights, the moving copy, the collapse guard, its state."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsurg.data.clips import ClipDataset
from fedsurg.data.labels import IGNORE
from fedsurg.data.loader import Batch
from fedsurg.data.site import load_site
from fedsurg.errors import CheckpointError
from fedsurg.learning.moving_average import MovingFeatures
from fedsurg.learning.serq import DomainDescriptor, Serq, instrument_mask
from fedsurg.learning.server_step import Broadcast, ServerStep, server_step
from fedsurg.methods import plan
from fedsurg.models import SegmentationNetwork, build_network
from fedsurg.sharing.contract import Contract
from fedsurg.sharing.update import Update
from fedsurg.study import Study
from fedsurg.tensor_file import read_tensors

CPU = torch.device("cpu")
MakeStep = Callable[..., tuple[ServerStep, Update]]


@pytest.fixture
def make_step(tiny_study: Callable[..., Study], synthetic: Path, start: Path) -> MakeStep:
    """The server step of a method, and the start as the first average."""
    tensors = read_tensors(start)[0]

    def make(method: str = "fedst", **options: Any) -> tuple[ServerStep, Update]:
        study = tiny_study(**{f"server__serq__{key}": value for key, value in options.items()})
        site = load_site(synthetic, study.task)
        dataset = ClipDataset(site, site.split("train"), study.task.image_size, 1)
        applied = plan(study, method)
        network = build_network(study.network, len(study.task.classes), seed=study.seed)
        contract = Contract.of(network, applied.scopes)
        mean = Update.of({name: tensors[name].numpy() for name in contract.shared})
        return server_step(applied, contract, tensors, dataset, CPU), mean

    return make


def test_the_descriptor_is_zero_at_first() -> None:
    assert torch.equal(DomainDescriptor(8, (4, 6), 3, seed=1)((4, 6)), torch.zeros(1, 8, 4, 6))
    assert torch.equal(DomainDescriptor(8, (4, 6), 0, seed=1)((2, 2)), torch.zeros(1, 8, 2, 2))


def test_the_descriptor_is_a_vector_plus_bases() -> None:
    descriptor = DomainDescriptor(2, (1, 2), 1, seed=1)
    with torch.no_grad():
        descriptor.vector.copy_(torch.tensor([1.0, 2.0]))
        descriptor.loadings.copy_(torch.tensor([[10.0], [0.0]]))
        descriptor.bases.copy_(torch.tensor([[[0.5, -0.5]]]))
    assert descriptor((1, 2)).tolist() == [[[[6.0, -4.0]], [[2.0, 2.0]]]]
    assert descriptor((1, 1)).tolist() == [[[[1.0]], [[2.0]]]]  # the bases cancel out


def test_the_descriptor_cannot_hold_a_frame() -> None:
    values = sum(parameter.numel() for parameter in DomainDescriptor(128, (32, 40), 4, seed=1).parameters())
    assert values < 0.04 * 128 * 32 * 40


def test_the_instrument_mask_by_hand() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[0, 0, 0] = 2  # dilated by one pixel: rows and columns 0 and 1
    labels[0, 7, 7] = IGNORE
    expected = torch.zeros(1, 1, 4, 4)
    expected[0, 0, 0, 0] = 1
    assert torch.equal(instrument_mask(labels, 2, dilation_px=0), expected)
    assert torch.equal(instrument_mask(labels, 2, dilation_px=1), expected)
    expected[0, 0, :2, :2] = 1  # up to pixel 2, which lies in the second cell
    assert torch.equal(instrument_mask(labels, 2, dilation_px=2), expected)


def test_a_mask_has_the_cells_of_the_network_where_the_last_is_cut_off() -> None:
    """Of 48 columns at stride 32, number 33 lies in the second cell, which has 16 of its own."""
    labels = torch.zeros(1, 32, 48, dtype=torch.int64)
    labels[0, 5, 33] = 1
    assert instrument_mask(labels, 32, dilation_px=0).tolist() == [[[[0.0, 1.0]]]]
    labels = torch.zeros(1, 192, 240, dtype=torch.int64)
    labels[0, 0, 212:222] = 1
    assert instrument_mask(labels, 32, dilation_px=0)[0, 0, 0].tolist() == [0, 0, 0, 0, 0, 0, 1, 0]


def test_outside_of_the_mask_a_distance_weighs_less(make_step: MakeStep) -> None:
    step, _ = make_step(outside_weight=0.25, mask_dilation_px=0)
    assert isinstance(step, Serq)
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[0, 0, 0] = 2
    batch = Batch(torch.zeros(1, 1, 3, 8, 8), labels)
    a, b = torch.full((1, 3, 2, 2), 3.0), torch.full((1, 3, 2, 2), 1.0)
    assert step._distance(a, b, batch).item() == pytest.approx(4 * (1 + 3 / 4) / 4)


def test_prototypes_are_means_inside_and_outside_of_the_mask(make_step: MakeStep) -> None:
    """Two batches of known features: one channel is 4 inside and 2 outside, then 8 and 6, then without instruments."""
    values = iter([(4.0, 2.0), (8.0, 6.0), (0.0, 10.0)])
    inside = torch.zeros(1, 1, 2, 2)
    inside[0, 0, 0, 0] = 1

    def features(_network: SegmentationNetwork, _batch: Batch) -> Tensor:
        within, without = next(values)
        return torch.cat([inside * within + (1 - inside) * without, -torch.ones(1, 1, 2, 2)], dim=1)

    average = MovingFeatures(None, features, 0.75, 2, CPU)  # type: ignore[arg-type]
    assert average.features(None, inside)[0, 0].tolist() == [[4.0, 2.0], [2.0, 2.0]]  # type: ignore[arg-type]
    assert average.features(None, inside)[0, 0].tolist() == [[5.0, 3.0], [3.0, 3.0]]  # type: ignore[arg-type]
    target = average.features(None, torch.zeros(1, 1, 2, 2))  # type: ignore[arg-type]
    assert target[0, 0].tolist() == [[0.75 * 3 + 0.25 * 7.5] * 2] * 2  # (0 + 3 * 10) / 4 over all four places
    assert target[0, 1].tolist() == [[-1.0] * 2] * 2
    assert average.tensors()["prototypes"].tolist() == [[5.0, -1.0], [4.125, -1.0]]


def test_a_moving_average_of_features(make_step: MakeStep) -> None:
    """It keeps two vectors in place of a network, and the pre-trained copy is held to something else by it."""
    steps = {kind: make_step(moving_average=kind, lambda_2=1.0)[0] for kind in ("weights", "features")}
    _, mean = make_step()
    for step in steps.values():
        _, facts = step.advance(mean, 1)
        assert all(np.isfinite(value) for value in facts.values())
    states = {kind: step.tensors() for kind, step in steps.items()}
    kept = {kind: [name for name in state if name.startswith("ema/")] for kind, state in states.items()}
    assert kept["features"] == ["ema/prototypes"]
    assert len(kept["weights"]) > 100
    assert states["features"]["ema/prototypes"].shape == (2, 32)
    assert torch.isfinite(states["features"]["ema/prototypes"]).all()
    # held to something else, the descriptor goes elsewhere; how far says nothing, as AdamW's step has one length
    descriptors = [state["descriptor/vector"] for state in states.values()]
    assert not torch.allclose(*descriptors, rtol=0.1, atol=0)


def test_one_round_moves_everything_that_it_should(make_step: MakeStep) -> None:
    step, mean = make_step(ema_decay=0.75, steps_descriptor=2)
    before = {name: value.clone() for name, value in step.tensors().items()}
    shared, facts = step.advance(mean, 1)
    after = step.tensors()
    assert set(facts) == {"serq_descriptor_loss", "target_variance", "serq_global_loss", "serq_distance"}
    assert all(np.isfinite(value) for value in facts.values())
    for part in ("global", "pre"):
        assert not torch.equal(before[f"{part}/head.weight"], after[f"{part}/head.weight"]), part
    assert after["descriptor/vector"].abs().sum() > 0
    for name in ("head.weight", "decoder.p5.weight"):
        expected = 0.75 * before[f"ema/{name}"] + 0.25 * after[f"global/{name}"]
        torch.testing.assert_close(after[f"ema/{name}"], expected, rtol=1e-5, atol=1e-7)
    assert all(np.array_equal(value, after[f"global/{name}"].numpy()) for name, value in shared.tensors.items())


def test_the_servers_own_query_is_trained_and_never_sent(make_step: MakeStep) -> None:
    step, mean = make_step(steps_descriptor=0)
    query = next(name for name in step.neutral(mean) if ".attn.q." in name)
    before = step.neutral(mean)[query]
    shared, _ = step.advance(mean, 1)
    assert query not in shared.tensors
    assert not torch.equal(step.neutral(shared)[query], before)
    assert all(np.array_equal(step.neutral(shared)[name].numpy(), value) for name, value in shared.tensors.items())


def test_without_lambda_2_the_descriptor_learns_nothing(make_step: MakeStep) -> None:
    step, mean = make_step(lambda_2=0.0, steps_descriptor=3, steps_global=0)
    step.advance(mean, 1)
    assert torch.equal(step.tensors()["descriptor/vector"], torch.zeros(32))
    assert torch.equal(step.tensors()["descriptor/loadings"], torch.zeros(32, 4))


def test_the_descriptor_takes_up_what_the_copies_differ_by(make_step: MakeStep) -> None:
    """With F_pre shifted by a constant against F_ema, v moves to the shift's side in every channel."""
    step, mean = make_step(lambda_2=10.0, steps_descriptor=1, steps_global=0)
    state = {name: value.clone() for name, value in step.tensors().items()}
    bias = next(n for n in state if n.startswith("ema/decoder.seg_blocks.0") and n.endswith("block.1.bias"))
    state[bias] -= 5.0
    step.load_tensors(state)
    step.advance(mean, 1)
    vector = step.tensors()["descriptor/vector"]
    assert (vector >= 0).all()
    assert (vector > 0).float().mean() > 0.5


def test_no_descriptor_means_no_descriptor(make_step: MakeStep) -> None:
    step, mean = make_step(descriptor=False, steps_descriptor=2)
    step.advance(mean, 1)
    assert torch.equal(step.tensors()["descriptor/vector"], torch.zeros(32))


def test_a_collapse_stops_it_for_good(make_step: MakeStep) -> None:
    step, mean = make_step()
    _, facts = step.advance(mean, 1)
    assert "serq_stopped" not in facts
    state = {name: value.clone() for name, value in step.tensors().items()}
    state["guard"][0] = 1e9  # what the variance was at first
    step.load_tensors(state)
    for number in (2, 3):
        shared, facts = step.advance(mean, number)
        assert facts["serq_stopped"] == 1
        assert shared is mean
    assert step.tensors()["guard"][1] == 1
    assert torch.equal(step.tensors()["global/head.weight"], torch.from_numpy(mean.tensors["head.weight"].copy()))
    assert torch.equal(step.tensors()["ema/head.weight"], state["ema/head.weight"])


def test_the_control_is_plain_fine_tuning(make_step: MakeStep) -> None:
    step, mean = make_step("fedavg-server")
    before = {name: value.clone() for name, value in step.tensors().items()}
    shared, facts = step.advance(mean, 1)
    assert set(facts) == {"serq_global_loss"}
    assert shared.distance(mean) > 0
    assert all(torch.equal(before[name], value) for name, value in step.tensors().items() if name.startswith("pre/"))


@pytest.mark.parametrize("kind", ["weights", "features"])
def test_a_restored_server_goes_on_to_the_last_bit(make_step: MakeStep, kind: str) -> None:
    one, mean = make_step(moving_average=kind)
    mean, _ = one.advance(mean, 1)
    two, _ = make_step(moving_average=kind)
    two.load_tensors({name: value.clone().contiguous() for name, value in one.tensors().items()})
    results = [step.advance(mean, 2) for step in (one, two)]
    assert results[0][0].vector.tobytes() == results[1][0].vector.tobytes()
    assert results[0][1] == results[1][1]
    states: list[dict[str, Tensor]] = [step.tensors() for step in (one, two)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("lacking", ["ema/head.weight", "guard"])
def test_a_checkpoint_that_lacks_a_tensor(make_step: MakeStep, lacking: str) -> None:
    step, _ = make_step()
    state = {name: value for name, value in step.tensors().items() if name != lacking}
    with pytest.raises(CheckpointError, match=f"the server checkpoint lacks {lacking}"):
        step.load_tensors(state)


def test_methods_without_a_server_step_broadcast_the_average(make_step: MakeStep) -> None:
    step, mean = make_step("fedavg")
    assert isinstance(step, Broadcast)
    shared, facts = step.advance(mean.scaled(2), 1)
    assert (shared.distance(mean.scaled(2)), facts, step.tensors()) == (0, {}, {})
    assert torch.equal(step.neutral(mean.scaled(2))["head.bias"], torch.from_numpy(2 * mean.tensors["head.bias"]))


def test_a_hospital_that_takes_no_part_is_given_the_middle(make_step: MakeStep, start: Path) -> None:
    """The rounds are those of FedST to the last bit; only what is given to others lies between it and the start."""
    (own, mean), (plain, _) = make_step("fedst-own"), make_step("fedst")
    shared, same = own.advance(mean, 1)[0], plain.advance(mean, 1)[0]
    assert shared.vector.tobytes() == same.vector.tobytes()
    assert own.tensors().keys() == plain.tensors().keys()
    first, last, given = read_tensors(start)[0], plain.neutral(same), own.neutral(shared)
    assert given.keys() == last.keys()
    assert any(not torch.equal(first[name], last[name]) for name in last)
    for name, value in given.items():
        torch.testing.assert_close(value, (first[name] + last[name]) / 2)


def test_the_share_of_the_start_is_a_key(tiny_study: Callable[..., Study], start: Path) -> None:
    study, tensors = tiny_study(server__start_share=0.25), read_tensors(start)[0]
    applied = plan(study, "fedavg-own")
    contract = applied.contract(build_network(study.network, 4, seed=1))
    mean = Update.of({name: tensors[name].numpy() for name in contract.shared})
    given = server_step(applied, contract, tensors, None, CPU).neutral(mean.scaled(2))
    torch.testing.assert_close(given["head.weight"], 1.75 * tensors["head.weight"])


def test_in_the_lite_reading_the_deepest_features_are_compared(make_step: MakeStep) -> None:
    step, mean = make_step("fedst-lite")
    assert step.tensors()["descriptor/vector"].shape == (256,)
    assert make_step("fedst")[0].tensors()["descriptor/vector"].shape == (32,)
    _, facts = step.advance(mean, 1)
    assert facts["serq_distance"] > 0

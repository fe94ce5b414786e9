"""Local objectives, as laws of the site engine: what each method trains, holds near and keeps."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsurg.learning.exchange import give_shared
from fedsurg.learning.objectives import only, proximal
from fedsurg.sharing.protocol import Request
from fedsurg.sharing.update import Packed, Update
from site_client.engine import SiteEngine

MakeEngine = Callable[..., SiteEngine]
RequestOf = Callable[..., Request]
TWO = {"local__steps": 2}


def packed(engine: SiteEngine) -> Packed:
    return give_shared(engine.network, engine.contract).pack()


def copy(engine: SiteEngine) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in engine.network.tensors().items()}


def own(engine: SiteEngine, number: int) -> Mapping[str, Tensor]:
    """The personal model that is kept on disk after round `number`."""
    state = engine._store.before(number + 1)
    assert state is not None
    assert state.round == number
    return state.own


def distance(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> float:
    return float(sum((one[name] - two[name]).square().sum() for name in one))


def changed(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> set[str]:
    return {name for name in one if not torch.equal(one[name], two[name])}


def train(engine: SiteEngine, request_of: RequestOf, number: int, sent: Packed) -> Update:
    update, _ = engine.work(request_of(engine, number), sent)
    assert update is not None
    return update


def test_the_proximal_term_by_hand() -> None:
    held = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0])}
    parameters = {name: torch.nn.Parameter(value.clone()) for name, value in held.items()}
    parameters["still"] = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    penalty = proximal(parameters, held | {"still": torch.ones(1)}, 0.5)
    assert penalty is not None
    assert penalty().item() == 0
    with torch.no_grad():
        parameters["a"].add_(torch.tensor([2.0, 0.0]))
        parameters["b"].sub_(1.0)
    assert penalty().item() == pytest.approx(0.25 * (4 + 1))
    penalty().backward()
    assert parameters["a"].grad.tolist() == [1.0, 0.0]  # weight * (w - w_0)
    assert parameters["b"].grad.tolist() == [-0.5]
    assert proximal(parameters, held, 0.0) is None


def test_fedprox_without_mu_is_fedavg_to_the_last_bit(make_engine: MakeEngine, request_of: RequestOf) -> None:
    results = []
    for method, options in (("fedavg", {}), ("fedprox", {"local__proximal_mu": 0.0}), ("fedprox", {})):
        engine = make_engine(method, folder=f"{method}{len(results)}", **TWO, **options)
        first = train(engine, request_of, 1, packed(engine))
        results.append((first, train(engine, request_of, 2, first.scaled(0.99).pack())))
    for number in (0, 1):
        assert results[0][number].vector.tobytes() == results[1][number].vector.tobytes()
        assert results[0][number].distance(results[2][number]) > 0


def test_fedprox_stays_nearer_to_what_it_received(make_engine: MakeEngine, request_of: RequestOf) -> None:
    moved = []
    for mu in (0.0, 1e4):
        engine = make_engine("fedprox", folder=f"mu{mu:g}", local__steps=4, local__proximal_mu=mu)
        sent = packed(engine)
        moved.append(train(engine, request_of, 1, sent).distance(Update.unpack(sent, engine.contract)))
    assert moved[1] < 0.6 * moved[0]


def test_fedbn_keeps_the_normalisation_layers_and_nothing_else(make_engine: MakeEngine, request_of: RequestOf) -> None:
    engine = make_engine("fedbn")
    norms = {
        id(parameter)
        for module in engine.network.modules()
        if isinstance(module, torch.nn.LayerNorm | torch.nn.GroupNorm)
        for parameter in module.parameters()
    }
    tensors = engine.network.tensors()
    assert {id(tensors[name]) for name in engine.contract.site} == norms
    assert {entry.part for entry in engine.contract.site.values()} == {"encoder", "temporal", "decoder"}
    before = copy(engine)
    first = train(engine, request_of, 1, packed(engine))
    mine = copy(engine)
    assert changed(before, mine) >= set(engine.contract.site)
    engine.work(request_of(engine, 2, "finish"), first.scaled(0.5).pack())
    assert all(torch.equal(engine.personal_model()[name], mine[name]) for name in engine.contract.site)


@pytest.mark.parametrize("method", ["fedper", "fedrep"])
def test_the_head_stays(make_engine: MakeEngine, request_of: RequestOf, method: str) -> None:
    engine = make_engine(method, **TWO)
    assert set(engine.contract.site) == {"head.weight", "head.bias"}
    before = copy(engine)
    first = train(engine, request_of, 1, packed(engine))
    mine = copy(engine)
    assert changed(before, mine) >= {"head.weight", "head.bias"}
    engine.work(request_of(engine, 2, "finish"), first.scaled(0.5).pack())
    model = engine.personal_model()
    assert all(torch.equal(model[name], mine[name]) for name in engine.contract.site)
    assert torch.equal(model["decoder.p5.bias"], torch.from_numpy(first.scaled(0.5).tensors["decoder.p5.bias"].copy()))


def test_fedrep_trains_the_head_and_then_the_body(
    make_engine: MakeEngine, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of four steps change the head alone, the last one the body alone; the learning rate goes on."""
    engine = make_engine("fedrep", local__steps=4, local__head_share=0.75)
    step, seen, shares = type(engine._learner.optimiser).step, [copy(engine)], []

    def watched(self: Any, loss: Tensor, share: float = 1.0) -> float:
        norm = step(self, loss, share)
        seen.append(copy(engine))
        shares.append(share)
        return norm

    sent = packed(engine)
    with monkeypatch.context() as patch:
        patch.setattr(type(engine._learner.optimiser), "step", watched)
        engine.work(request_of(engine, 1), sent)
    steps = [changed(one, two) for one, two in itertools.pairwise(seen)]
    assert steps[:3] == [{"head.weight", "head.bias"}] * 3
    assert len(steps) == 4
    assert not steps[3] & {"head.weight", "head.bias"}
    assert {engine.contract.shared[name].part for name in steps[3]} == {"encoder", "query", "temporal", "decoder"}
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) == 4
    assert all(tensor.requires_grad for tensor in engine.network.tensors().values())


def test_what_rests_is_woken_after_an_error(make_engine: MakeEngine) -> None:
    engine = make_engine("fedrep", sharing={"decoder": "frozen"})
    before = {name: value.requires_grad for name, value in engine.network.tensors().items()}
    with pytest.raises(ZeroDivisionError), only(engine.network, {"head.bias"}):
        trained = [name for name, value in engine.network.tensors().items() if value.requires_grad]
        assert trained == ["head.bias"]
        raise ZeroDivisionError
    assert {name: value.requires_grad for name, value in engine.network.tensors().items()} == before
    assert not all(before.values())


def test_ditto_sends_what_fedavg_sends(make_engine: MakeEngine, request_of: RequestOf) -> None:
    sent = []
    for method in ("fedavg", "ditto"):
        engine = make_engine(method, folder=method, **TWO)
        first = train(engine, request_of, 1, packed(engine))
        sent.append((first, train(engine, request_of, 2, first.scaled(0.99).pack())))
    assert [update.vector.tobytes() for update in sent[0]] == [update.vector.tobytes() for update in sent[1]]


def test_ditto_without_a_pull_is_local_training(make_engine: MakeEngine, request_of: RequestOf) -> None:
    ditto = make_engine("ditto", folder="ditto", **TWO, local__personal_lambda=0.0, local__site_rate_factor=0.5)
    first = train(ditto, request_of, 1, packed(ditto))
    train(ditto, request_of, 2, first.scaled(0.5).pack())
    alone = make_engine("local", folder="local", **TWO, local__site_rate_factor=0.5)
    for number in (1, 2):
        train(alone, request_of, number, packed(alone))
    assert changed(own(ditto, 2), copy(alone)) == set()
    assert len(own(ditto, 2)) == len(ditto.network.tensors())


def test_the_pull_holds_dittos_model_at_the_received_one(make_engine: MakeEngine, request_of: RequestOf) -> None:
    """Against lambda = 0, a huge lambda keeps it near; and when the received model moves away, it follows."""
    near = []
    for pull in (0.0, 1e6):
        engine = make_engine("ditto", folder=f"pull{pull:g}", local__steps=4, local__personal_lambda=pull)
        received = copy(engine)
        first = train(engine, request_of, 1, packed(engine))
        shifted = first.scaled(0.0)
        before = own(engine, 1)
        train(engine, request_of, 2, shifted.pack())
        zero = {name: torch.zeros_like(value) for name, value in received.items()}
        near.append((distance(before, received), distance(own(engine, 2), zero) - distance(before, zero)))
    assert near[1][0] < 0.5 * near[0][0]
    assert near[1][1] < min(0, 3 * near[0][1])  # weight decay alone also shrinks


@pytest.mark.parametrize("method", ["ditto", "fedst-own"])
def test_the_own_model_is_scored_and_delivered(make_engine: MakeEngine, request_of: RequestOf, method: str) -> None:
    engine = make_engine(method, **TWO)
    first, report = engine.work(request_of(engine, 1), packed(engine))
    assert first is not None
    mine = own(engine, 1)
    _, last = engine.work(request_of(engine, 2, "finish"), first.scaled(0.0).pack())  # the shared model is ruined
    assert (last.received_loss, last.received_dice) == (report.trained_loss, report.trained_dice)
    assert changed(engine.personal_model(), mine) == set()
    ruined = {name for name in engine.contract.shared if mine[name].any()}
    assert changed(mine, engine.network.tensors()) & set(engine.contract.shared) == ruined


@pytest.mark.parametrize(("method", "empty"), [("ditto", {"site"}), ("fedst-own", {"own-optimiser"})])
def test_must_hold_8_the_own_model_goes_on_from_the_disk(
    make_engine: MakeEngine, request_of: RequestOf, method: str, empty: set[str]
) -> None:
    """Two rounds in one engine; the second once more, as if the server had lost it, by an engine of a new process."""
    warm = make_engine(method, **TWO)
    first = train(warm, request_of, 1, packed(warm))
    second = train(warm, request_of, 2, first.pack())
    expected = warm._store.before(3)
    cold = make_engine(method, **TWO)
    again = train(cold, request_of, 2, first.pack())
    found = cold._store.before(3)
    assert again.vector.tobytes() == second.vector.tobytes()
    assert expected is not None
    assert found is not None
    for key, group in expected.groups().items():
        assert changed(group, found.groups()[key]) == set()
        assert bool(group) == (key not in empty)


def test_ditto_may_forget_its_optimisers(make_engine: MakeEngine, request_of: RequestOf) -> None:
    engine = make_engine("ditto", local__keep_optimiser=False)
    train(engine, request_of, 1, packed(engine))
    state = engine._store.before(2)
    assert state is not None
    assert [key for key, group in state.groups().items() if group] == ["own"]


def test_the_own_model_is_the_moving_average_of_those_that_were_trained(
    make_engine: MakeEngine, request_of: RequestOf
) -> None:
    """First the trained network itself, whatever the round; then a quarter of the old one, three of the new one."""
    engine = make_engine("fedst-own", **TWO, local__own_decay=0.25, local__start_share=0, federation__rounds=3)
    first = train(engine, request_of, 2, packed(engine))
    one = copy(engine)
    assert changed(own(engine, 2), one) == set()
    train(engine, request_of, 3, first.scaled(0.5).pack())
    two = copy(engine)
    found = own(engine, 3)
    for name, value in found.items():
        torch.testing.assert_close(value, 0.25 * one[name] + 0.75 * two[name], atol=1e-6, rtol=1e-5)
    assert changed(found, two) == set(two)


def test_the_own_model_keeps_a_share_of_the_start(make_engine: MakeEngine, request_of: RequestOf) -> None:
    """In each round, so however many there are; what the start does not have is the trained network's alone."""
    engine = make_engine("fedst-own", **TWO, local__own_decay=0.25, local__start_share=0.4, federation__rounds=3)
    start = copy(engine)
    first = train(engine, request_of, 1, packed(engine))
    one = copy(engine)
    train(engine, request_of, 2, first.pack())
    two, found = copy(engine), own(engine, 2)
    adapters = {name for name, part in engine.network.parts().items() if part in ("gate", "adapters")}
    assert adapters
    for name, value in found.items():
        average = 0.25 * one[name] + 0.75 * two[name]
        expected = average if name in adapters else 0.6 * average + 0.4 * start[name]
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)
    assert changed(start, two) >= set(engine.contract.shared)


def test_at_its_own_size_fedst_own_sends_what_fedst_sends(make_engine: MakeEngine, request_of: RequestOf) -> None:
    sent = []
    for method in ("fedst", "fedst-own"):
        engine = make_engine(method, folder=method, **TWO, local__magnification__apparent_width=0)
        first = train(engine, request_of, 1, packed(engine))
        sent.append((first, train(engine, request_of, 2, first.scaled(0.99).pack())))
    assert [update.vector.tobytes() for update in sent[0]] == [update.vector.tobytes() for update in sent[1]]


def test_a_site_that_missed_all_rounds_is_served_by_what_it_receives(
    make_engine: MakeEngine, request_of: RequestOf
) -> None:
    engine = make_engine("fedst-own")
    shared = give_shared(engine.network, engine.contract).scaled(0.5)
    engine.work(request_of(engine, 3, "finish"), shared.pack())
    model = engine.personal_model()
    assert all(torch.equal(model[name], torch.from_numpy(value.copy())) for name, value in shared.tensors.items())

"""The site engine: what it refuses, what it keeps, what it gives."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsurg.errors import CheckpointError, ContractError, FederationError
from fedsurg.learning.evaluate import Quick
from fedsurg.learning.exchange import give_shared
from fedsurg.sharing.protocol import Request
from fedsurg.sharing.update import Packed, Update
from site_client.engine import SiteEngine

MakeEngine = Callable[..., SiteEngine]
RequestOf = Callable[..., Request]
REPORTED = {
    *("samples", "train_loss", "received_loss", "received_dice", "received_iou"),
    *("trained_loss", "trained_dice", "trained_iou", "train_s", "validate_s", "data_s", "other_s"),
}


def packed(engine: SiteEngine) -> Packed:
    return give_shared(engine.network, engine.contract).pack()


def copy(engine: SiteEngine) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in engine.network.tensors().items()}


def test_a_round_of_work(make_engine: MakeEngine, request_of: RequestOf) -> None:
    engine = make_engine()
    before, sent = copy(engine), packed(engine)
    update, report = engine.work(request_of(engine, 1), sent)
    assert update is not None
    assert update.pack().names == tuple(engine.contract.shared)
    assert update.distance(Update.unpack(sent, engine.contract)) > 0
    assert report.samples == 4
    assert all(math.isfinite(value) for value in report.facts().values())
    assert report.data_s <= report.train_s
    after = copy(engine)
    queries = [name for name, entry in engine.contract.site.items() if entry.part == "query"]
    assert all(not torch.equal(before[name], after[name]) for name in queries if name.endswith("weight"))
    (state,) = (engine.folder / "private").iterdir()
    assert state.name == "round-000001.safetensors"


@pytest.mark.parametrize(("batch_size", "trained"), [(1, 1), (2, 2), (4, 2)])
def test_the_cohort_is_what_a_round_uses(
    make_engine: MakeEngine, request_of: RequestOf, batch_size: int, trained: int
) -> None:
    """One step of one clip is on one case, however many lie on the disk; nothing is scored before the first answer."""
    engine = make_engine("fedavg", local__batch_size=batch_size)
    assert (engine.cohort().trained, engine.cohort().scored) == (trained, 0)
    engine.work(request_of(engine, 1), packed(engine))
    assert (engine.cohort().trained, engine.cohort().scored) == (trained, 1)


def test_steps_on_what_stays_do_not_count(make_engine: MakeEngine) -> None:
    """Of four steps FedRep takes two on the head, which stays: what is sent has seen two clips, perhaps of one case."""
    counts = [
        make_engine(method, local__steps=4, local__batch_size=1, local__head_share=0.5).cohort().trained
        for method in ("fedavg", "fedrep")
    ]
    assert counts == [2, 1]


def test_a_round_without_validation_is_scored_on_no_case(make_engine: MakeEngine, request_of: RequestOf) -> None:
    engine = make_engine("fedavg", evaluation__every=2)
    engine.work(request_of(engine, 1), packed(engine))
    assert engine.cohort().scored == 0


def test_a_site_of_small_instruments_magnifies_for_itself(make_engine: MakeEngine, request_of: RequestOf) -> None:
    """It trains on crops and validates on whole frames of twice the size; what it sends is as it was."""
    wide = {"local__magnification__apparent_width": 1.0}
    seen = []
    for method in ("fedst", "fedst-own"):
        engine = make_engine(method, folder=method, **wide)
        sizes = []
        engine.network.register_forward_pre_hook(lambda _, given, found=sizes: found.append(tuple(given[0].shape[-2:])))
        update, report = engine.work(request_of(engine, 1), packed(engine))
        assert update is not None
        engine.work(request_of(engine, 2, "finish"), update.pack())
        facts = engine._files.read("personal")[1]
        seen.append((engine.magnification, facts["magnification"], set(sizes)))
        assert set(report.facts()) == REPORTED
        assert update.pack().names == tuple(engine.contract.shared)
    assert seen == [(1.0, 1.0, {(64, 64)}), (2.0, 2.0, {(64, 64), (128, 128)})]


def test_the_best_model_keeps_the_magnification_it_was_trained_at(
    make_engine: MakeEngine, request_of: RequestOf
) -> None:
    """Also where the labels, and with them the factor, were changed before the study ended."""
    options = {"evaluation__choose": "best", "local__magnification__apparent_width": 1.0}
    engine = make_engine("fedst-own", **options)
    update, _ = engine.work(request_of(engine, 1), packed(engine))
    assert update is not None
    engine.magnification = 1.5
    engine._validate = lambda *_: Quick(iou=-0.5)  # type: ignore[method-assign]
    engine.work(request_of(engine, 2, "finish"), update.pack())
    assert engine._files.read("personal")[1]["magnification"] == 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study": "other"}, "the request is of study other, this site runs study; get the coordinator's study file"),
        ({"contract": "other"}, "another sharing contract; use the same fedsurg version at both ends"),
        ({"round": 3}, "the request is to train in round 3, the study has 2"),
        ({"round": 4, "work": "finish"}, "the request is to finish in round 4, the study has 2"),
    ],
)
def test_a_request_that_was_not_agreed(
    make_engine: MakeEngine, request_of: RequestOf, change: dict[str, Any], message: str
) -> None:
    engine = make_engine()
    before = copy(engine)
    with pytest.raises(ContractError, match=message):
        engine.work(replace(request_of(engine, 1), **change), packed(engine))
    assert not engine.folder.exists()
    assert all(torch.equal(before[name], value) for name, value in copy(engine).items())


def test_an_update_that_breaks_the_contract(make_engine: MakeEngine, request_of: RequestOf) -> None:
    engine = make_engine()
    before = copy(engine)
    with pytest.raises(ContractError, match=r"the tensors have .* bytes, their shapes need"):
        engine.work(request_of(engine, 1), replace(packed(engine), data=b"\0" * 8))
    assert all(torch.equal(before[name], value) for name, value in copy(engine).items())


def test_a_new_process_goes_on_from_the_disk(make_engine: MakeEngine, request_of: RequestOf) -> None:
    """Two rounds in one engine, and with the second round in an engine of a new process: the same bytes."""
    warm = make_engine(folder="warm")
    first, _ = warm.work(request_of(warm, 1), packed(warm))
    second, _ = warm.work(request_of(warm, 2), first.pack())
    one = make_engine(folder="cold")
    other, _ = one.work(request_of(one, 1), packed(one))
    assert other.vector.tobytes() == first.vector.tobytes()
    two = make_engine(folder="cold")
    again, _ = two.work(request_of(two, 2), first.pack())
    assert again.vector.tobytes() == second.vector.tobytes()
    assert all(torch.equal(value, copy(two)[name]) for name, value in copy(warm).items())


def test_a_repeated_round_gives_the_same(make_engine: MakeEngine, request_of: RequestOf) -> None:
    """The server lost round 2 and asks for it again: private state goes back with it."""
    engine = make_engine()
    first, _ = engine.work(request_of(engine, 1), packed(engine))
    second, _ = engine.work(request_of(engine, 2), first.pack())
    again, _ = engine.work(request_of(engine, 2), first.pack())
    assert again.vector.tobytes() == second.vector.tobytes()


def test_a_round_that_failed_half_way_leaves_no_trace(
    make_engine: MakeEngine, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, clean = make_engine(folder="a"), make_engine(folder="b")
    start = packed(engine)
    with monkeypatch.context() as patch:
        patch.setattr(SiteEngine, "_save", _full)
        with pytest.raises(CheckpointError, match="disk is full"):
            engine.work(request_of(engine, 1), start)
    update, _ = engine.work(request_of(engine, 1), start)
    expected, _ = clean.work(request_of(clean, 1), start)
    assert update.vector.tobytes() == expected.vector.tobytes()


def test_finish_keeps_the_personalised_model(make_engine: MakeEngine, request_of: RequestOf) -> None:
    engine = make_engine()
    with pytest.raises(CheckpointError, match=r"personal\.safetensors: no such file"):
        engine.personal_model()
    first, _ = engine.work(request_of(engine, 1), packed(engine))
    update, report = engine.work(request_of(engine, 2, "finish"), first.scaled(0.5).pack())
    assert update is None
    assert report.train_s == 0
    assert math.isnan(report.train_loss)
    model = engine.personal_model()
    assert model.keys() == engine.network.tensors().keys()
    assert torch.equal(model["head.bias"], torch.from_numpy(first.scaled(0.5).tensors["head.bias"].copy()))
    assert all(torch.equal(model[name], engine.network.tensors()[name]) for name in engine.contract.site)


def test_the_best_round_is_kept_when_asked_for(
    make_engine: MakeEngine, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(evaluation__choose="best")
    scores = iter([0.5, 0.1, 0.9, 0.1, 0.2])
    validate = SiteEngine._validate
    monkeypatch.setattr(SiteEngine, "_validate", lambda self, *given: replace(validate(self, *given), iou=next(scores)))
    sent = packed(engine)
    first, _ = engine.work(request_of(engine, 1), sent)  # received 0.5
    second, _ = engine.work(request_of(engine, 2), first.pack())  # received 0.9
    engine.work(request_of(engine, 3, "finish"), second.pack())  # received 0.2
    assert torch.equal(engine.personal_model()["head.bias"], torch.from_numpy(first.tensors["head.bias"].copy()))


def test_rounds_among_which_one_is_chosen_are_scored_on_the_same_frames(
    make_engine: MakeEngine, request_of: RequestOf
) -> None:
    engine = make_engine(evaluation__choose="best", evaluation__max_frames=1)
    sent = packed(engine)
    _, last = engine.work(request_of(engine, 1, "finish"), sent)
    _, one = engine.work(request_of(engine, 1), sent)
    assert one.received_loss == last.received_loss


def test_validation_every_other_round_and_always_at_the_end(make_engine: MakeEngine, request_of: RequestOf) -> None:
    engine = make_engine(evaluation__every=2, evaluation__max_frames=1)
    update, report = engine.work(request_of(engine, 1), packed(engine))
    assert math.isnan(report.received_iou)
    assert math.isnan(report.trained_loss)
    _, one = engine.work(request_of(engine, 2), update.pack())
    _, both = engine.work(request_of(engine, 2, "finish"), update.pack())
    assert math.isfinite(one.received_loss)
    assert math.isfinite(both.received_loss)
    assert one.received_loss != both.received_loss  # one frame, and all of them


def test_a_site_that_forgets_its_optimiser(make_engine: MakeEngine, request_of: RequestOf) -> None:
    engine = make_engine(local__keep_optimiser=False)
    engine.work(request_of(engine, 1), packed(engine))
    state = engine._store.before(2)
    assert state is not None
    assert state.optimiser == {}
    keeping = make_engine(folder="keeping")
    keeping.work(request_of(keeping, 1), packed(keeping))
    kept = keeping._store.before(2)
    assert kept is not None
    assert set(kept.optimiser) == {
        f"{moment}/{name}" for moment in ("exp_avg", "exp_avg_sq", "step") for name in keeping.network.tensors()
    }


def test_frozen_parts_stay(make_engine: MakeEngine, request_of: RequestOf) -> None:
    engine = make_engine(sharing={"decoder": "frozen"})
    before = copy(engine)
    update, _ = engine.work(request_of(engine, 1), packed(engine))
    frozen = [entry.name for entry in engine.contract.entries if entry.scope == "frozen"]
    assert frozen
    assert not set(frozen) & set(update.tensors)
    assert all(torch.equal(before[name], copy(engine)[name]) for name in frozen)


def test_no_finite_step_is_an_error(make_engine: MakeEngine, request_of: RequestOf) -> None:
    engine = make_engine(local__cross_entropy=1e38, local__jaccard=1e38)
    with pytest.raises(FederationError, match=r"round 1: no step had a finite loss; lower local.learning_rate"):
        engine.work(request_of(engine, 1), packed(engine))
    assert not list((engine.folder).glob("private/*"))


def _full(*_arguments: object) -> None:
    raise CheckpointError("disk is full")

"""Few-case adaptation: what it may change, what it may read, and when it must not change anything."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsurg.data.site import load_site
from fedsurg.errors import ContractError, DataError
from fedsurg.methods import plan
from fedsurg.models.network import network_of
from fedsurg.study import Study
from fedsurg.tensor_file import read_tensors
from site_client.adaptation import Ward, adapt, finetune

MakeStudy = Callable[..., Study]
MakeWard = Callable[..., Ward]
CPU = torch.device("cpu")


@pytest.fixture
def ward(tiny_study: MakeStudy, data: Path, start: Path) -> MakeWard:
    """North, whose cases 0 and 1 are for training, and the start as the global model."""
    torch.set_num_threads(1)
    tensors = read_tensors(start)[0]

    def make(
        method: str = "fedst",
        *,
        hospitals: Path = data,
        model: Mapping[str, Tensor] = tensors,
        more: Mapping[str, Any] = MappingProxyType({}),
        **options: Any,
    ) -> Ward:
        options = {"steps": 4, "check_every": 2, "learning_rate": 1e-2} | options
        study = tiny_study(**{f"adaptation__{key}": value for key, value in options.items()}, **more)
        site = load_site(hospitals / "north", study.task)
        return Ward(plan(study, method), model, site, torch.eye(8)[0], CPU)

    return make


def test_only_the_private_part_changes(ward: MakeWard, scripted: Callable[..., None]) -> None:
    """Two left-out cases, checked at 0, 2 and 4 steps: best at 2. Then all cases, before and after."""
    scripted(0.1, 0.3, 0.5, 0.5, 0.2, 0.4, 0.2, 0.2, 0.6, 0.6)
    one = ward()
    result = adapt(one)
    assert result.scores.keys() == {1.0}
    assert result.scores[1.0] == pytest.approx({0: 0.2, 2: 0.5, 4: 0.3})
    assert (result.changed, result.steps) == (True, 2)
    assert result.cases == ("PATIENT-north-0", "PATIENT-north-1")
    assert result.reason == "2 steps; left-out cases rose from IoU 0.200 to 0.500"
    contract = one.plan.contract(one.private_network())
    before = one.private_network().tensors() | one.model
    changed = {name for name, value in result.tensors.items() if not torch.equal(value, before[name])}
    assert changed <= set(contract.site)
    assert {contract.site[name].part for name in changed} == {"query", "gate", "adapters"}
    assert result.tensors.keys() == before.keys()


def test_at_no_step_it_is_the_global_model(ward: MakeWard, start: Path) -> None:
    one = ward()
    shared = network_of(one.study)
    shared.load_tensors(one.model, strict=True)
    private = one.private_network()
    private.load_tensors(one.model)
    frames = torch.randn(1, 2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(shared.eval()(frames).logits, private.eval()(frames).logits)


def test_the_guard_keeps_a_good_model_bit_for_bit(ward: MakeWard) -> None:
    """A model that has learnt these cases better than the start had, and a learning rate that destroys it."""
    good = finetune(ward(steps=60, check_every=60, learning_rate=3e-3))
    result = adapt(ward(model=good, learning_rate=10.0))
    scores = result.scores[1.0]
    assert scores[0] > 2 * adapt(ward(steps=2, learning_rate=1e-9)).scores[1.0][0]
    assert max(score for steps, score in scores.items() if steps) < scores[0]
    assert (result.changed, result.steps) == (False, 0)
    assert result.tensors is good
    assert "no number of steps was better on left-out cases than the global model" in result.reason


@pytest.mark.parametrize(
    ("ious", "reason"),
    [
        ([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], "no number of steps was better"),  # as good is not better
        ([0.4, 0.4, 0.1, 0.1, 0.3, 0.3], "no number of steps was better"),
        ([torch.nan] * 2, "nothing can be compared"),
        ([0.2, 0.2, 0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.1, 0.1], "fell on these very cases, from IoU 0.300 to 0.100"),
    ],
)
def test_when_the_global_model_stays(
    ward: MakeWard, scripted: Callable[..., None], ious: list[float], reason: str
) -> None:
    scripted(*ious)
    one = ward()
    result = adapt(one)
    assert not result.changed
    assert result.tensors is one.model
    assert reason in result.reason


def test_small_instruments_are_tried_magnified_too(ward: MakeWard, scripted: Callable[..., None]) -> None:
    """At 0, 2 and 4 steps: at the study's size, then twice as large, where the global model itself is the best. On all
    cases it is then scored at the study's size and, magnified, after its no steps.
    """
    options = {"local__magnification__apparent_width": 1.0, "local__magnification__largest": 2.0}
    scripted(0.2, 0.2, 0.3, 0.3, 0.1, 0.1, 0.6, 0.6, 0.5, 0.5, 0.4, 0.4, 0.2, 0.2, 0.6, 0.6)
    one = ward("fedst-own", more=options)
    result = adapt(one)
    assert {factor: list(scores.values()) for factor, scores in result.scores.items()} == {
        1.0: pytest.approx([0.2, 0.3, 0.1]),
        2.0: pytest.approx([0.6, 0.5, 0.4]),
    }
    assert (result.changed, result.steps, result.magnification) == (True, 0, 2.0)
    assert result.reason == "0 steps on frames magnified 2 times; left-out cases rose from IoU 0.200 to 0.600"
    assert all(torch.equal(result.tensors[name], value) for name, value in one.model.items())
    sizes = [one.clips(result.cases, factor).size for factor in (1.0, 2.0)]
    assert sizes == [(64, 64), (128, 128)]


def test_it_ends_early(ward: MakeWard, scripted: Callable[..., None]) -> None:
    """Checks at 0, 1, 2, 3 ... of 9 steps: after two without a new best there is no third."""
    scripted(0.5, 0.5, 0.4, 0.4, 0.3, 0.3)
    assert list(adapt(ward(steps=9, check_every=1)).scores[1.0]) == [0, 1, 2]


def test_it_repeats_by_seed(ward: MakeWard, scripted: Callable[..., None]) -> None:
    ious = (0.1, 0.1, 0.5, 0.5, 0.2, 0.2, 0.1, 0.1, 0.6, 0.6)
    results = []
    for _ in range(2):
        scripted(*ious)
        results.append(adapt(ward()))
    assert all(torch.equal(value, results[1].tensors[name]) for name, value in results[0].tensors.items())
    first, second = finetune(ward()), finetune(ward())
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_scored_cases_are_never_read(ward: MakeWard, own_data: Path) -> None:
    """Its validation case cannot be decoded, and nobody notices."""
    for line in (own_data / "north" / "manifest.csv").read_text().splitlines():
        if line.endswith(",val"):
            for name in line.split(",")[:2]:
                (own_data / "north" / name).write_bytes(b"no picture")
    whole, damaged = adapt(ward()), adapt(ward(hospitals=own_data))
    assert damaged.scores == whole.scores
    assert all(torch.equal(value, damaged.tensors[name]) for name, value in whole.tensors.items())
    assert finetune(ward(hospitals=own_data, steps=1)).keys() == ward().model.keys()


def test_the_control_changes_everything(ward: MakeWard) -> None:
    one = ward("fedavg", steps=1)
    tuned = finetune(one)
    weights = [name for name, value in tuned.items() if value.ndim > 1]
    assert all(not torch.equal(tuned[name], one.model[name]) for name in weights)


def test_a_method_without_a_private_part(ward: MakeWard) -> None:
    with pytest.raises(ContractError, match="fedavg keeps no part of the network at a site, so there is nothing to"):
        adapt(ward("fedavg"))


def test_one_case_is_too_few(ward: MakeWard, own_data: Path) -> None:
    manifest = own_data / "north" / "manifest.csv"
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(line.replace(",train", ",val") if "north-1" in line else line for line in lines))
    with pytest.raises(DataError, match=r"site 'north' has 1 cases in split 'train', adaptation needs 2"):
        adapt(ward(hospitals=own_data))

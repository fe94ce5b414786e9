"""Methods are rows: what each shares, which private parts it has, what its server does."""

from collections.abc import Callable

import pytest

from fedsurg.methods import METHODS, plan
from fedsurg.methods.registry import PARTS
from fedsurg.study import Study

SHARED = {
    "local": set(),
    "central": set(PARTS),
    "fedavg": set(PARTS),
    "fedavg-server": set(PARTS),
    "fedavg-own": set(PARTS),
    "fedprox": set(PARTS),
    "fedbn": set(PARTS),  # but for the normalisation layers in them
    "fedper": set(PARTS) - {"head"},
    "fedrep": set(PARTS) - {"head"},
    "ditto": set(PARTS),
    "feddp": set(PARTS) - {"query"},
    "fedst": set(PARTS) - {"query", "gate", "adapters"},
    "fedst-own": set(PARTS) - {"query", "gate", "adapters"},
    "fedst-finetune": set(PARTS) - {"query", "gate", "adapters"},
    "fedst-lite": {"encoder", "temporal"},
}


@pytest.mark.parametrize("name", SHARED)
def test_what_a_method_shares(name: str) -> None:
    scopes = METHODS[name].scopes({})
    assert {part for part, scope in scopes.items() if scope == "shared"} == SHARED[name]
    assert set(scopes.values()) <= {"shared", "site"}


def test_every_row_is_under_its_own_name() -> None:
    assert all(row.name == name and row.summary for name, row in METHODS.items())
    assert set(SHARED) == set(METHODS) - {"start"}


def test_who_has_gate_adapters_and_server_step() -> None:
    whole = {"fedst", "fedst-own", "fedst-finetune", "fedst-lite"}
    assert {name for name in SHARED if METHODS[name].gate} == whole
    assert {name for name in SHARED if METHODS[name].adapters} == whole
    assert {name: METHODS[name].server for name in SHARED if METHODS[name].server != "none"} == {
        "fedavg-server": "finetune",
        "fedst": "serq",
        "fedst-own": "serq",
        "fedst-finetune": "finetune",
        "fedst-lite": "serq",
    }
    assert [name for name in SHARED if METHODS[name].grouping == "pooled"] == ["central"]
    assert {name: METHODS[name].objective for name in SHARED if METHODS[name].objective != "plain"} == {
        "fedprox": "proximal",
        "fedrep": "head-first",
        "ditto": "personal",
        "fedavg-own": "averaged",
        "fedst-own": "averaged",
    }
    assert {name for name in SHARED if METHODS[name].own_model} == {"ditto", "fedavg-own", "fedst-own"}
    assert [name for name in SHARED if METHODS[name].private_norms] == ["fedbn"]


def test_the_study_overrides_scopes_and_parts(tiny_study: Callable[..., Study]) -> None:
    study = tiny_study(sharing={"query": "frozen"}, network__gate__enabled=False, network__adapters__enabled=False)
    applied = plan(study, "fedst")
    assert applied.scopes["query"] == "frozen"
    assert applied.scopes["encoder"] == "shared"
    assert not applied.has_gate
    assert not applied.has_adapters
    assert plan(tiny_study(), "fedst").has_gate
    assert not plan(tiny_study(), "fedavg").has_gate


def test_local_shares_nothing_and_central_everything_whatever_the_study_says(tiny_study: Callable[..., Study]) -> None:
    study = tiny_study(sharing={"decoder": "shared", "head": "site", "encoder": "frozen"})
    local, central = (plan(study, name).scopes for name in ("local", "central"))
    assert (local["decoder"], local["head"], local["encoder"]) == ("site", "site", "frozen")
    assert (central["decoder"], central["head"], central["encoder"]) == ("shared", "shared", "frozen")

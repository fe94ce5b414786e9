"""The sharing contract of a real network under a method."""

import pytest
import torch

from fedsurg.methods.registry import METHODS
from fedsurg.models import build_network
from fedsurg.sharing.contract import Contract, Entry
from fedsurg.study.config import NetworkConfig


@pytest.fixture(scope="module")
def network() -> object:
    config = NetworkConfig(pyramid_channels=32, segmentation_channels=32)
    return build_network(config, 3, text_vector=torch.ones(8), adapters=True, seed=0)


def test_every_parameter_once(network: object) -> None:
    contract = Contract.of(network, METHODS["fedst"].scopes({}))  # type: ignore[arg-type]
    counts = contract.scope_counts()
    assert sum(counts.values()) == sum(p.numel() for p in network.parameters())  # type: ignore[attr-defined]
    assert counts["frozen"] == 0
    assert set(contract.shared) | set(contract.site) == {entry.name for entry in contract.entries}
    assert not set(contract.shared) & set(contract.site)
    assert contract.bytes_per_message == 4 * counts["shared"]
    assert {entry.part for entry in contract.site.values()} == {"query", "gate", "adapters"}


def test_an_override_wins(network: object) -> None:
    scopes = METHODS["fedst"].scopes({"head": "site", "query": "frozen"})
    contract = Contract.of(network, scopes)  # type: ignore[arg-type]
    assert {entry.part for entry in contract.site.values()} == {"head", "gate", "adapters"}
    assert contract.scope_counts()["frozen"] == 193_536


def test_private_norms_stay_in_the_parts_they_lie_in(network: object) -> None:
    """PVTv2-B0 has 30 of them: 2 in each of 8 blocks, 1 more in the 6 whose keys are reduced, 2 in each of 4 stages."""
    scopes = METHODS["fedbn"].scopes({})
    contract = Contract.of(network, scopes, private_norms=True)  # type: ignore[arg-type]
    shared = Contract.of(network, scopes)  # type: ignore[arg-type]
    assert set(contract.site) == network.normalisation()  # type: ignore[attr-defined]
    assert set(contract.shared) | set(contract.site) == set(shared.shared)
    assert shared.site == {}
    counts = {part: sum(e.values for e in contract.site.values() if e.part == part) for part in ("decoder", "temporal")}
    assert counts == {"decoder": 7 * 2 * 32, "temporal": 2 * 2 * 64}
    assert len([entry for entry in contract.site.values() if entry.part == "encoder"]) == 2 * 30
    frozen = Contract.of(network, METHODS["fedbn"].scopes({"decoder": "frozen"}), private_norms=True)  # type: ignore[arg-type]
    assert {entry.part for entry in frozen.site.values()} == {"encoder", "temporal"}


def test_the_digest_is_of_the_shared_table_alone() -> None:
    base = (Entry("a", "encoder", "shared", (2, 3)), Entry("q", "query", "site", (2,)))
    digest = Contract(base).digest
    assert Contract((base[0],)).digest == digest
    assert Contract((Entry("a", "encoder", "shared", (3, 2)), base[1])).digest != digest
    assert Contract((Entry("b", "encoder", "shared", (2, 3)), base[1])).digest != digest
    assert Contract((base[0], Entry("q", "query", "shared", (2,)))).digest != digest


def test_rows_for_people() -> None:
    (row,) = Contract((Entry("a", "encoder", "shared", (2, 3)),)).rows()
    assert row == {
        "name": "a",
        "part": "encoder",
        "scope": "shared",
        "shape": (2, 3),
        "dtype": "float32",
        "bytes": 24,
    }

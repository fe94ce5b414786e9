"""What a study is under a method: what `study show` and a hospital's review say of it."""

from typing import Any

from fedsurg.methods.registry import plan
from fedsurg.models.network import count_parameters
from fedsurg.models.text import site_vectors
from fedsurg.sharing.contract import Contract
from fedsurg.study.config import Study
from fedsurg.study.digest import study_digest


def facts_of(study: Study, method: str) -> tuple[dict[str, Any], Contract]:
    """Digest, parameter counts, scopes and bytes of a study under a method, and its contract.

    Raises:
        NetworkError: the network or a text vector cannot be made.
    """
    applied = plan(study, method)
    sites = [(site.name, site.procedure) for site in study.sites]
    vector = site_vectors(study.network.gate, sites)[study.sites[0].name] if applied.has_gate else None
    network = applied.network(vector)
    contract = applied.contract(network)
    facts = {
        "name": study.name,
        "digest": study_digest(study),
        "method": method,
        "parameters": count_parameters(network),
        "scopes": contract.scope_counts(),
        "bytes_per_round": contract.bytes_per_message,
        "own_model": applied.method.own_model,
        "contract_digest": contract.digest,
    }
    return facts, contract

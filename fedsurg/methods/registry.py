"""Federated methods: one row each, no class tree.

A method says which parts of the network leave the site, which private parts the network has at all, what a site
minimises, and what the server does after averaging. Everything else (network, start, steps, batches) is the study's and
equal for all rows; a row that takes more says so in its summary.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from fedsurg.sharing.contract import Contract
from fedsurg.study.config import Part, Scope, Study

if TYPE_CHECKING:
    from torch import Tensor

    from fedsurg.data.clips import ClipDataset
    from fedsurg.models.network import SegmentationNetwork

PARTS: tuple[Part, ...] = get_args(Part)

Objective = Literal["plain", "proximal", "head-first", "personal", "averaged"]  # see fedsurg.learning.objectives
ServerStep = Literal["none", "finetune", "serq"]
Grouping = Literal["federated", "pooled", "none"]


@dataclass(frozen=True)
class Method:
    """A row of the registry.

    Args:
        name: key in the registry and in a study's `methods`.
        summary: one line for tables and reports.
        site: parts that stay at the site; every other part is shared.
        private_norms: normalisation layers stay at the site as well, in whatever part they lie.
        gate: the sites' network has the text gate (when the study enables it).
        adapters: the sites' network has LoRA adapters (when the study enables them).
        magnified: each site enlarges its frames until its instruments look as wide as everybody's.
        objective: what a site minimises in a round.
        server: what the server does with the average: nothing, fine-tuning on synthetic video, or SERQ.
        grouping: `pooled` trains one model on all sites' data in one place (an upper bound, not federated); `none`
            trains nowhere.
    """

    name: str
    summary: str
    site: frozenset[Part] = frozenset()
    private_norms: bool = False
    gate: bool = False
    adapters: bool = False
    magnified: bool = False
    objective: Objective = "plain"
    server: ServerStep = "none"
    grouping: Grouping = "federated"

    @property
    def own_model(self) -> bool:
        """A site has a model of its own beside the network that it shares: it is scored and delivered, never sent."""
        return self.objective in ("personal", "averaged")

    @property
    def own_model_follows(self) -> bool:
        """Who receives a site's networks and has the start can compute its own model, but for the parts that stay."""
        return self.objective == "averaged"

    def trained(self, overrides: Mapping[Part, Scope]) -> list[Part]:
        """The parts of its network that are not frozen."""
        absent = {"gate": not self.gate, "adapters": not self.adapters}
        return [part for part, scope in self.scopes(overrides).items() if scope != "frozen" and not absent.get(part)]

    def scopes(self, overrides: Mapping[Part, Scope]) -> dict[Part, Scope]:
        """The scope of every part, with the study's overrides on top.

        `local` shares nothing and `central` everything, whatever the study says; only `frozen` reaches them.
        """
        if self.grouping == "none":
            return dict.fromkeys(PARTS, "frozen")
        scopes: dict[Part, Scope] = {part: "site" if part in self.site else "shared" for part in PARTS}
        fixed = self.grouping == "pooled" or self.site == frozenset(PARTS)
        return scopes | {part: scope for part, scope in overrides.items() if scope == "frozen" or not fixed}


def _parts(*parts: Part) -> frozenset[Part]:
    return frozenset(parts)


_PRIVATE = _parts("query", "gate", "adapters")

METHODS: dict[str, Method] = {
    row.name: row
    for row in (
        Method("start", "the common start on synthetic video, trained at no site", grouping="none"),
        Method("local", "each site alone", site=frozenset(PARTS)),
        Method(
            "central",
            "all sites' data in one place, and the steps of all sites on one model: the upper bound",
            grouping="pooled",
        ),
        Method("fedavg", "everything shared, averaged (McMahan 2017)"),
        Method(
            "fedavg-server",
            "fedavg, then fine-tuned on synthetic video: the control for SERQ",
            server="finetune",
        ),
        Method(
            "fedavg-own",
            "fedavg, with what fedst-own adds to fedst: its control",
            magnified=True,
            objective="averaged",
        ),
        Method("fedprox", "fedavg, each site held near the model it received (Li 2020)", objective="proximal"),
        Method("fedbn", "normalisation layers private (Li 2021)", private_norms=True),
        Method("fedper", "the 1x1 head private (Arivazhagan 2019)", site=_parts("head")),
        Method(
            "fedrep",
            "the head private, trained before the body in every round (Collins 2021)",
            site=_parts("head"),
            objective="head-first",
        ),
        Method(
            "ditto",
            "fedavg, and a model of its own for each site, held near it: twice the local steps (Li 2021)",
            objective="personal",
        ),
        Method("feddp", "private query projections alone (FedDP)", site=_parts("query")),
        Method(
            "fedst",
            "private queries, gate and adapters; SERQ at the server (arXiv 2506.23759)",
            site=_PRIVATE,
            gate=True,
            adapters=True,
            server="serq",
        ),
        Method(
            "fedst-own",
            "fedst, each site at its own magnification; serves averages of weights, with some of the start in them",
            site=_PRIVATE,
            gate=True,
            adapters=True,
            magnified=True,
            objective="averaged",
            server="serq",
        ),
        Method(
            "fedst-finetune",
            "fedst with fine-tuning on synthetic video in SERQ's place: the control that isolates SERQ",
            site=_PRIVATE,
            gate=True,
            adapters=True,
            server="finetune",
        ),
        Method(
            "fedst-lite",
            "fedst whose decoder and head stay at the site: 12.69 MiB a message, as published",
            site=_PRIVATE | _parts("decoder", "head"),
            gate=True,
            adapters=True,
            server="serq",
        ),
    )
}


@dataclass(frozen=True)
class Plan:
    """A method applied to a study: what the code needs to know, decided once."""

    study: Study
    method: Method
    scopes: Mapping[Part, Scope] = field(default_factory=dict)

    @property
    def has_gate(self) -> bool:
        """The sites' network has a text gate."""
        return self.method.gate and self.study.network.gate.enabled

    @property
    def has_adapters(self) -> bool:
        """The sites' network has LoRA adapters."""
        return self.method.adapters and self.study.network.adapters.enabled

    def network(self, text_vector: "Tensor | None" = None) -> "SegmentationNetwork":
        """A site's network, untrained.

        Args:
            text_vector: (e,), of the site's prompt; only a method with a gate needs one.
        """
        from fedsurg.models.network import network_of

        return network_of(self.study, text_vector=text_vector if self.has_gate else None, adapters=self.has_adapters)

    def magnification(self, train: "ClipDataset") -> float:
        """How much a site with these training frames enlarges them; 1 where the method does not.

        Raises:
            DataError: a label file cannot be used.
        """
        from fedsurg.data.magnification import magnification

        config = self.study.local.magnification
        return magnification(train, config.apparent_width, config.largest) if self.method.magnified else 1.0

    def contract(self, network: "SegmentationNetwork") -> Contract:
        """What leaves a site whose network this is."""
        return Contract.of(network, self.scopes, private_norms=self.method.private_norms)


def plan(study: Study, method: str) -> Plan:
    """Apply the registry's row `method` to `study`."""
    row = METHODS[method]
    return Plan(study, row, row.scopes(study.sharing))

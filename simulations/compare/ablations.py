"""FedST's controls: what is left of it when one piece is taken away or replaced. One row each.

A row is a method with a few keys of the study changed. All begin at the common start, so that only the piece differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fedsurg.metrics.summary import ADAPTED, FINETUNED, MEAN_QUERY

REFERENCE = "fedst"


@dataclass(frozen=True)
class Ablation:
    """A control.

    Args:
        name: in tables and folders; the name of a method where it is that method as it is.
        meaning: one line for people.
        method: row of the registry.
        overrides: keys of the study that differ, by dotted key.
        start: `reduced` leaves tensors of the common start out for which the control's network has no place.
        model: which of the unseen site's models is read; empty: the one a site is judged by.
    """

    name: str
    meaning: str
    method: str = REFERENCE
    overrides: Mapping[str, Any] = field(default_factory=dict)
    start: Literal["common", "reduced"] = "common"
    model: str = ""


ABLATIONS: tuple[Ablation, ...] = (
    Ablation(REFERENCE, "the whole method: the reference"),
    Ablation("onehot-gate", "the gate gets a site number instead of text", overrides={"network.gate.text": "onehot"}),
    Ablation("no-gate", "without the text gate", overrides={"network.gate.enabled": False}),
    Ablation("no-adapters", "without the sites' adapters", overrides={"network.adapters.enabled": False}),
    Ablation(
        "no-temporal",
        "without the temporal layer: every frame for itself",
        overrides={"network.temporal.enabled": False},
        start="reduced",
    ),
    Ablation(
        "no-server-step",
        "the average goes out as it is",
        overrides={"server.serq.steps_descriptor": 0, "server.serq.steps_global": 0},
    ),
    Ablation("fedst-finetune", "plain fine-tuning on the same synthetic video in SERQ's place", "fedst-finetune"),
    Ablation("no-descriptor", "SERQ with D = 0", overrides={"server.serq.descriptor": False}),
    Ablation(
        "feature-average",
        "SERQ's anchor is a moving average of features, not of weights",
        overrides={"server.serq.moving_average": "features"},
    ),
    Ablation(
        MEAN_QUERY,
        "unseen: the mean of the sites' queries in place of the server's",
        overrides={"evaluation.mean_query": True},
        model=MEAN_QUERY,
    ),
    # Other models of the reference's own cells, where the study makes them ([adaptation]); else there is no such row.
    Ablation(ADAPTED, "unseen: the private part adapted to a few of the site's cases", model=ADAPTED),
    Ablation(FINETUNED, "unseen: all of it fine-tuned on the same few cases, without a guard", model=FINETUNED),
)

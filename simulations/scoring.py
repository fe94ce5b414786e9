"""Scoring a finished model on a site's held-out frames, with a few overlays to look at."""

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from fedsurg.data.clips import ClipDataset, evenly_spread
from fedsurg.data.site import SiteData
from fedsurg.files import write_atomic
from fedsurg.learning.evaluate import Prediction, finished_scores, picture
from fedsurg.learning.local import to_device
from fedsurg.methods.registry import Plan
from fedsurg.models.encoder import keeps_batch_statistics
from fedsurg.models.network import SegmentationNetwork, network_of
from fedsurg.report.overlays import draw_overlay
from fedsurg.study_file.load import changed

OVERLAYS_PER_SITE = 3


@dataclass(frozen=True)
class ScoredModel:
    """Tensors by canonical name, and what of a site belongs to them: private parts of the network, magnification."""

    name: str
    tensors: Mapping[str, Tensor]
    text_vector: Tensor | None = None
    adapters: bool = False
    magnification: float = 1.0

    def network(self, plan: Plan, device: torch.device) -> SegmentationNetwork:
        """The network on `device`, ready to predict."""
        # The tensors are all weights. Batch statistics alone still need the file that the encoder began with: it may be
        # gone, or named relative to another folder.
        bare = changed(plan.study, {"network.encoder_weights": ""})
        network = network_of(bare, text_vector=self.text_vector, adapters=self.adapters)
        if keeps_batch_statistics(network):
            network = network_of(plan.study, text_vector=self.text_vector, adapters=self.adapters)
        network.load_tensors(self.tensors, strict=True)
        to_device(network, device)
        return network.eval()


def with_mean_of(
    model: ScoredModel, name: str, tensors: Collection[str], sites: Collection[Mapping[str, Tensor]]
) -> ScoredModel:
    """`model` under another name, with some of its tensors replaced by their means over the models of `sites`."""
    means = {key: torch.stack([site[key].double() for site in sites]).mean(0).float() for key in tensors}
    return replace(model, name=name, tensors={**model.tensors, **means})


@dataclass(frozen=True)
class Scored:
    """Rows of all metrics (one per frame and label), and what overlays were drawn."""

    rows: list[dict[str, Any]]
    pictures: list[dict[str, Any]]


def score_site(
    plan: Plan, site: SiteData, model: ScoredModel, device: torch.device, overlays: Path | None = None
) -> Scored:
    """Score `model` on the cases of `site` that it has never seen.

    Those are the test cases, or the validation cases where there is no test split; with folds at a federated site,
    both: each case that the fold leaves out, and the test cases in every fold.

    With a folder `overlays`, a few predictions are drawn there.
    """
    held_out = _held_out(site, folds=plan.study.evaluation.folds > 0)
    drawn = set(evenly_spread(len(held_out), OVERLAYS_PER_SITE))
    pictures: list[dict[str, Any]] = []

    def look(prediction: Prediction, dataset: ClipDataset) -> None:
        if overlays and prediction.index in drawn:
            pictures.append(_draw(prediction, dataset, site, model, overlays))

    network = model.network(plan, device)
    rows = finished_scores(plan.study, network, site, held_out, device, look, model.magnification)
    return Scored(rows, pictures)


def with_only(site: SiteData, split: str) -> SiteData | None:
    """A site whose test cases are those of `split`, or of all splits for `all`; none if it has no such cases."""
    frames = site.frames if split == "all" else site.split(split)
    return replace(site, frames=frames.assign(split="test")) if len(frames) else None


def _held_out(site: SiteData, *, folds: bool) -> pd.DataFrame:
    test, val = site.split("test"), site.split("val")
    if folds:
        return pd.concat([val, test])
    return test if len(test) else val


def _draw(
    prediction: Prediction, dataset: ClipDataset, site: SiteData, model: ScoredModel, overlays: Path
) -> dict[str, Any]:
    drawing = draw_overlay(
        picture(dataset, prediction),
        prediction.label.numpy(),
        prediction.predicted.numpy(),
        len(site.labels.names),
    )
    file = f"{site.name}-{model.name.replace(' ', '-')}-{prediction.index:04d}.png"
    buffer = io.BytesIO()
    Image.fromarray(drawing).save(buffer, "PNG")
    write_atomic(overlays / file, buffer.getvalue())
    case, clip, frame = dataset.row(prediction.index)
    return {
        "file": file,
        "site": site.name,
        "model": model.name,
        "position": prediction.index,
        "case": case,
        "caption": f"{case}, {clip}, frame {frame}",
        "simulated": site.simulated,
    }

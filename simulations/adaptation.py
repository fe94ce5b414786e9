"""Adapting a job's global model to its unseen sites, and the models that came out of it."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from fedsurg.data.magnification import MAGNIFICATION
from fedsurg.metrics.summary import ADAPTED, FINETUNED
from fedsurg.study.config import SiteConfig
from fedsurg.tensor_file import read_tensors, write_tensors
from simulations.bench import Bench
from simulations.scoring import ScoredModel
from site_client.adaptation import Ward, adapt, finetune

log = logging.getLogger("fedsurg.simulations")


def adapt_unseen(bench: Bench, model: Mapping[str, Tensor]) -> None:
    """Adapt the finished global model to every unseen site, as `[adaptation]` says; writes files in the sites' folders.

    A method that shares nothing has no global model, and one that keeps nothing at a site has nothing to adapt: there
    the global model is all that is scored.

    Raises:
        DataError: a site has too few cases in its train split.
    """
    config, contract = bench.study.adaptation, bench.contract()
    if not config.enabled or (bench.owners and not contract.shared):
        return
    for site in bench.study.unseen:
        vector = bench.vectors[site.name] if bench.plan.has_gate else None
        ward = Ward(bench.plan, model, bench.data(site), vector, bench.device)
        if contract.site:
            _adapt(bench, ward, _file(bench, site, ADAPTED))
        else:
            log.info("%s: has no private part, so there is nothing to adapt at %s", bench.job.name, site.name)
        if config.naive:
            write_tensors(_file(bench, site, FINETUNED), finetune(ward), {"study": bench.digest})


def adapted_models(bench: Bench, site: SiteConfig) -> list[ScoredModel]:
    """The models that `adapt_unseen` left for an unseen site.

    Raises:
        CheckpointError: a model cannot be read.
    """
    found = []
    adapted, finetuned = (_file(bench, site, name) for name in (ADAPTED, FINETUNED))
    if adapted.exists():
        tensors, facts = read_tensors(adapted)
        private = facts["changed"]
        vector = bench.vectors[site.name] if private and bench.plan.has_gate else None
        magnification = facts.get(MAGNIFICATION, 1.0)
        found.append(ScoredModel(ADAPTED, tensors, vector, private and bench.plan.has_adapters, magnification))
    if finetuned.exists():
        found.append(ScoredModel(FINETUNED, read_tensors(finetuned)[0]))
    return found


def _adapt(bench: Bench, ward: Ward, file: Path) -> None:
    result = adapt(ward)
    facts = {
        "study": bench.digest,
        "changed": result.changed,
        "steps": result.steps,
        "cases": result.cases,
        MAGNIFICATION: result.magnification,
        "scores": {
            f"{factor:g}": {str(steps): None if math.isnan(score) else score for steps, score in scores.items()}
            for factor, scores in result.scores.items()
        },
        "reason": result.reason,
    }
    write_tensors(file, result.tensors, facts)
    outcome = "adapted" if result.changed else "keeps the global model"
    log.info("%s: %s %s; %s", bench.job.name, ward.site.name, outcome, result.reason)


def _file(bench: Bench, site: SiteConfig, name: str) -> Path:
    return bench.job.folder / "sites" / site.name / f"{name}.safetensors"

"""The scores of a finished job: which of its models are scored on which cases."""

import csv
import io
import json
import logging
from pathlib import Path
from typing import Any

from fedsurg.data.magnification import MAGNIFICATION
from fedsurg.data.site import SiteData
from fedsurg.files import write_atomic
from fedsurg.metrics.summary import GLOBAL, MEAN_QUERY, PERSONAL, PERSONAL_OF
from fedsurg.study.config import SiteConfig
from fedsurg.tensor_file import read_tensors
from simulations.adaptation import adapted_models
from simulations.bench import POOLED, Bench
from simulations.done import SCORES_FILE
from simulations.job import CONTRACT, GLOBAL_MODEL, PERSONAL_MODEL
from simulations.scoring import ScoredModel, score_site, with_mean_of, with_only

log = logging.getLogger("fedsurg.simulations")


def score_job(bench: Bench) -> None:
    """Score every site's personalised model on its held-out cases; the global and the adapted ones on unseen sites."""
    job, rows = bench.job, []
    pictures: list[dict[str, Any]] = []
    for site in bench.study.sites:
        data = cases_to_score(bench, site)
        origin = {
            "method": job.method,
            "fold": "" if job.fold is None else job.fold,
            "seed": bench.study.seed,
            "site": site.name,
            "role": site.role,
            "simulated": data.simulated,
        }
        for model in models_for(bench, site):
            overlays = job.folder / "overlays" if job.keep_models else None
            scored = score_site(bench.plan, data, model, bench.device, overlays)
            rows += [origin | {"model": model.name} | row for row in scored.rows]
            pictures += scored.pictures
    _write_rows(job.folder / SCORES_FILE, rows)
    write_atomic(job.folder / "overlays" / "overlays.json", json.dumps(pictures, indent=1))


def cases_to_score(bench: Bench, site: SiteConfig) -> SiteData:
    """A site with the cases that it is scored on: of an unseen one its test cases, or the validation cases where it has
    none, or all if the study asks for it.
    """
    data = bench.data(site)
    if site.role != "unseen":
        return data
    # no fold holds any of its cases out
    held_out = "test" if len(data.split("test")) else "val"
    return with_only(data, "all" if bench.study.evaluation.unseen_cases == "all" else held_out) or data


def models_for(bench: Bench, site: SiteConfig) -> list[ScoredModel]:
    """The finished models that are scored on `site`.

    A federated site is scored with its personalised model, an unseen one with the global model and with those that
    were adapted from it. Where nothing is shared there is no global model: then every site's own model is scored on the
    unseen one. With `evaluation.mean_query`, an unseen site also gets the global model with the mean of all private
    queries in place of the server's: only a simulation can make it, as private queries never leave a site.

    A site that failed when the last model was delivered has none of its own, and is not scored.

    Raises:
        CheckpointError: a model cannot be read.
    """
    files = {name: bench.job.folder / "sites" / name / PERSONAL_MODEL for name in bench.owners}
    files = {name: file for name, file in files.items() if file.exists()}
    if site.role == "federated" and bench.owners:
        owner = POOLED if bench.plan.method.grouping == "pooled" else site.name
        if owner not in files:
            log.warning("%s: %s has no model of its own and is not scored; see its refusals", bench.job.name, owner)
            return []
        return [_own_model(bench, PERSONAL, site.name, files[owner])]
    if files and not _shares(bench.job.folder):
        return [_own_model(bench, f"{PERSONAL_OF}{name}", name, file) for name, file in files.items()]
    shared = ScoredModel(GLOBAL, read_tensors(bench.job.folder / GLOBAL_MODEL)[0])
    found = [shared, *adapted_models(bench, site)]
    if files and bench.study.evaluation.mean_query and bench.plan.scopes["query"] == "site":
        personal = [read_tensors(file)[0] for file in files.values()]
        queries = [name for name, entry in bench.contract().site.items() if entry.part == "query"]
        found.append(with_mean_of(shared, MEAN_QUERY, queries, personal))
    return found


def _shares(folder: Path) -> bool:
    """Whether the sites of a finished job shared anything: by what the job wrote, as files of its study may be gone."""
    return any(row["scope"] == "shared" for row in json.loads((folder / CONTRACT).read_text()))


def _own_model(bench: Bench, label: str, site: str, file: Path) -> ScoredModel:
    """A site's own model with all that belongs to it: text vector, adapters, magnification."""
    vector = bench.vectors[site] if bench.plan.has_gate else None
    tensors, facts = read_tensors(file)
    return ScoredModel(label, tensors, vector, bench.plan.has_adapters, facts.get(MAGNIFICATION, 1.0))


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue())

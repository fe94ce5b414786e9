"""A job: one method on one fold of a study, from the common start to scored test frames. Jobs run in parallel."""

import csv
import io
import json
import logging
import math
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context
from torch import Tensor

from fedsurg.data.folds import case_folds, with_fold
from fedsurg.data.magnification import MAGNIFICATION
from fedsurg.data.site import SiteData, load_site
from fedsurg.files import canonical_json, sha256_of_file, write_atomic
from fedsurg.learning.device import choose_device
from fedsurg.methods.registry import plan
from fedsurg.metrics.summary import GLOBAL, MEAN_QUERY, PERSONAL, PERSONAL_OF
from fedsurg.study.config import SiteConfig, Study
from fedsurg.study.holdout import Holdout
from fedsurg.study.load import study_digest
from fedsurg.tensor_file import read_tensors, write_tensors
from server.checkpoint import CheckpointStore
from server.federation import Federation
from server.server_app import make_server_app
from server.setup import ServerSetup
from simulations.adaptation import adapt_unseen, adapted_models
from simulations.done import DONE, SCORES_FILE
from simulations.inline import run_inline
from simulations.scoring import ScoredModel, score_site, with_mean_of
from site_client.client_app import make_client_app
from site_client.engine import SiteEngine, SiteSetup

log = logging.getLogger("fedsurg.simulations")

POOLED = "central"  # name of the one site that stands for all of them in pooled training
GLOBAL_MODEL = Path("server") / "global.safetensors"
PERSONAL_MODEL = "personal.safetensors"  # in the folder of a site


@dataclass(frozen=True)
class Job:
    """Where everything is, as plain values that travel to a worker process.

    Args:
        study: the study.
        method: row of the registry.
        fold: number of the fold; none: the manifest's splits.
        folder: of this job's files.
        sites: folder of each site's data by name.
        synthetic: site folder of the server's synthetic video; none where no server learns on it.
        start: file of the pre-trained start.
        device: name of the device, or auto.
        engine: inline or ray.
        threads: of torch, per site.
        processes: of the ray engine.
        keep_models: keep models, private state and pictures when the job is scored; without them it cannot be looked
            at or evaluated again, and takes a thousandth of the disk.
        title: what the job is called where method and fold do not say it all; empty: by those.
        models: folder of a finished job whose models are scored instead of trained; none: all rounds run.
    """

    study: Study
    method: str
    fold: int | None
    folder: Path
    sites: Mapping[str, Path]
    synthetic: Path | None
    start: Path
    device: str = "auto"
    engine: str = "inline"
    threads: int = 1
    processes: int = 2
    keep_models: bool = True
    title: str = ""
    models: Path | None = None

    @property
    def name(self) -> str:
        """As in the run folder: `fedst`, `fedst-fold0` or `fedst-without-north`."""
        return self.title or f"{self.method}{Holdout(self.fold)}"

    @property
    def done(self) -> bool:
        """All rounds ran and all frames are scored."""
        return (self.folder / DONE).exists()


class Bench(ServerSetup):
    """What a job's server and sites are built from; each process builds what it needs, once."""

    def __init__(self, job: Job) -> None:
        super().__init__(
            plan(job.study, job.method),
            lambda: read_tensors(job.start)[0],
            job.synthetic,
            choose_device(job.device),
        )
        self.job, self.digest = job, job_digest(job)
        self._engines: dict[int, SiteEngine] = {}

    @property
    def nodes(self) -> int:
        """How many sites train."""
        return len(self.owners)

    @property
    def owners(self) -> list[str]:
        """Names of the sites that keep a personalised model."""
        if self.plan.method.grouping == "none":
            return []
        return [POOLED] if self.plan.method.grouping == "pooled" else [site.name for site in self.study.federated]

    def data(self, site: SiteConfig) -> SiteData:
        """A site's data, with this job's fold held out where the site trains."""
        found = replace(load_site(self.job.sites[site.name], self.study.task), name=site.name)
        if self.job.fold is None or site.role == "unseen":
            return found
        return with_fold(found, case_folds(found, self.study.evaluation.folds)[self.job.fold])

    def engine(self, index: int) -> SiteEngine:
        """The `index`-th site's engine."""
        if index not in self._engines:
            sites = self.study.federated
            pooled = self.plan.method.grouping == "pooled"
            name = POOLED if pooled else sites[index].name
            sources = [self.data(site) for site in (sites if pooled else sites[index : index + 1])]
            vector = None if pooled else self.vectors[name] if self.plan.has_gate else None
            setup = SiteSetup(name, sources, self.job.folder / "sites" / name, self.start, vector)
            self._engines[index] = SiteEngine(self.plan, self.digest, setup, self.device)
        return self._engines[index]


def job_digest(job: Job) -> str:
    """Digest that state files of this job carry: the study's, with method and fold."""
    return digest_of_state(job.study, job.name)


def digest_of_state(study: Study, name: str) -> str:
    """`job_digest` of a job with this study and name."""
    return study_digest(study)[:48] + f"-{name}"


_BENCHES: dict[str, Bench] = {}  # in a ray worker: built at the first message, warm from then on


@dataclass(frozen=True)
class EngineOf:
    """Finds a node's engine by its partition; travels to ray workers by value."""

    job: Job

    def __call__(self, context: Context) -> SiteEngine:
        """The engine of this node."""
        key = str(self.job.folder)
        if key not in _BENCHES:
            torch.set_num_threads(self.job.threads)
            _BENCHES[key] = Bench(self.job)
        return _BENCHES[key].engine(int(context.node_config["partition-id"]))


def run_job(job: Job, on_round: Callable[[dict[str, Any]], None], stopped: Callable[[], bool]) -> None:
    """Run or resume a job to its scores; where it has finished models, score these.

    Raises:
        FedsurgError: see `Federation.run`.
    """
    started = time.perf_counter()
    torch.set_num_threads(job.threads)
    bench = Bench(job)
    if job.models:
        model = _take_models(job.models, job.folder)
    else:
        model = _federate(bench, on_round, stopped)
        write_tensors(job.folder / GLOBAL_MODEL, model, {"study": bench.digest})
    adapt_unseen(bench, model)
    scoring = time.perf_counter()
    _score(bench)
    ended = time.perf_counter()
    facts = {
        "digest": bench.digest,
        "start": str(job.start),
        "scores_sha256": sha256_of_file(job.folder / SCORES_FILE),
        "score_s": ended - scoring,
        "wall_s": ended - started,
        "keep_models": job.keep_models,
    }
    write_atomic(job.folder / DONE, canonical_json(facts))
    drop_models(job.folder)
    _BENCHES.clear()


def _take_models(finished_job: Path, folder: Path) -> dict[str, Tensor]:
    """Copy a finished job's models, and what its rounds cost; returns the global model."""
    personal = (file.relative_to(finished_job) for file in finished_job.glob(f"sites/*/{PERSONAL_MODEL}"))
    for name in (Path("history.jsonl"), Path("contract.json"), GLOBAL_MODEL, *personal):
        if (finished_job / name).exists():  # there is no history where nobody trained
            write_atomic(folder / name, (finished_job / name).read_bytes())
    return read_tensors(folder / GLOBAL_MODEL)[0]


def drop_models(folder: Path) -> None:
    """Remove models and private state of a finished job that was to keep none; again, if it died before it had."""
    if not json.loads((folder / DONE).read_text()).get("keep_models", True):
        for name in ("server", "sites"):
            shutil.rmtree(folder / name, ignore_errors=True)


def _federate(
    bench: Bench, on_round: Callable[[dict[str, Any]], None], stopped: Callable[[], bool]
) -> dict[str, Tensor]:
    """All rounds of a job on its engine; returns the global model. Where nobody trains, that is the start."""
    job, contract = bench.job, bench.contract()
    write_atomic(job.folder / "contract.json", json.dumps(contract.rows(), indent=1))
    if not bench.nodes:
        return bench.start
    step = bench.server(contract)
    store = CheckpointStore(job.folder / "server", bench.digest, contract)
    over = threading.Event()  # when an engine dies, the server must not wait on in a thread of it
    federation = Federation(
        job.study,
        bench.digest,
        contract,
        bench.nodes,
        step,
        store,
        bench.first(contract),
        on_round,
        lambda: stopped() or over.is_set(),
        turns=math.ceil(bench.nodes / (job.processes if job.engine == "ray" else 1)),
    )
    server_app = make_server_app(lambda context: federation)
    _BENCHES.clear()
    _BENCHES[str(job.folder)] = bench
    client_app = make_client_app(EngineOf(job))
    try:
        if job.engine == "ray":
            from simulations.ray import run_ray

            run_ray(server_app, client_app, bench.nodes, processes=job.processes, threads=job.threads)
        else:
            run_inline(server_app, client_app, bench.nodes, job.study.federation.deadline_s)
    finally:
        over.set()
    state = store.load()
    assert state is not None  # the federation has just saved it
    return step.neutral(state.shared)


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
    if files and "shared" not in bench.plan.scopes.values():
        return [_own_model(bench, f"{PERSONAL_OF}{name}", name, file) for name, file in files.items()]
    shared = ScoredModel(GLOBAL, read_tensors(bench.job.folder / GLOBAL_MODEL)[0])
    found = [shared, *adapted_models(bench, site)]
    if files and bench.study.evaluation.mean_query and bench.plan.scopes["query"] == "site":
        personal = [read_tensors(file)[0] for file in files.values()]
        queries = [name for name, entry in bench.contract().site.items() if entry.part == "query"]
        found.append(with_mean_of(shared, MEAN_QUERY, queries, personal))
    return found


def _own_model(bench: Bench, label: str, site: str, file: Path) -> ScoredModel:
    """A site's own model with all that belongs to it: text vector, adapters, magnification."""
    vector = bench.vectors[site] if bench.plan.has_gate else None
    tensors, facts = read_tensors(file)
    return ScoredModel(label, tensors, vector, bench.plan.has_adapters, facts.get(MAGNIFICATION, 1.0))


def _score(bench: Bench) -> None:
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
    """A site with the cases that it is scored on: of an unseen one all, if the study asks for it."""
    data = bench.data(site)
    if site.role == "unseen" and bench.study.evaluation.unseen_cases == "all":
        return replace(data, frames=data.frames.assign(split="test"))
    return data


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue())

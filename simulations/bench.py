"""What a job's server and sites are built from, and how a node finds its site."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from flwr.app import Context

from fedsurg.data.folds import case_folds, with_fold
from fedsurg.data.site import SiteData, load_site
from fedsurg.learning.device import choose_device
from fedsurg.methods.registry import plan
from fedsurg.study.config import SiteConfig
from fedsurg.tensor_file import read_tensors
from server.setup import ServerSetup
from simulations.job import Job, job_digest
from site_client.engine import SiteEngine, SiteSetup

POOLED = "central"  # name of the one site that stands for all of them in pooled training


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


_SET_UP: dict[Path, Bench] = {}  # by the job's folder, one at most; a ray worker's stays warm from message to message


def set_up(job: Job) -> Bench:
    """Build the bench of this process anew, in place of any that was there."""
    put_away()
    torch.set_num_threads(job.threads)
    _SET_UP[job.folder] = Bench(job)
    return _SET_UP[job.folder]


def put_away() -> None:
    """Let go of this process's bench."""
    _SET_UP.clear()


@dataclass(frozen=True)
class EngineOf:
    """Finds a node's engine by its partition; travels to ray workers by value."""

    job: Job

    def __call__(self, context: Context) -> SiteEngine:
        """The engine of this node."""
        bench = _SET_UP.get(self.job.folder) or set_up(self.job)
        return bench.engine(int(context.node_config["partition-id"]))

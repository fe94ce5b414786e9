"""Site engines of approved studies: built when a study's first request comes, and kept warm for the rounds after it."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from fedsurg.data.site import load_site
from fedsurg.methods.registry import plan
from fedsurg.models.start_file import read_start
from fedsurg.models.text import site_vectors
from fedsurg.sharing.contract import Contract
from fedsurg.sharing.protocol import Report, Request
from fedsurg.sharing.update import Packed, Update
from fedsurg.study_file.deployed import federated_site, require_deployable
from site_client.approvals import Approvals
from site_client.engine import SiteEngine, SiteSetup, Watch
from site_client.policy import Cohort
from site_client.site_folder import read_membership
from site_client.vault import Vault

KEPT = 2  # engines: two studies that take turns; each holds a network, its optimiser and a table of frames


class Engines:
    """The engines of a hospital.

    Args:
        folder: of the site.
        vault: of the site, open.
        device: to train on.
    """

    def __init__(self, folder: Path, vault: Vault, device: torch.device) -> None:
        self._folder, self._vault, self._device = folder, vault, device
        self._approvals = Approvals(folder)
        self._warm: OrderedDict[tuple[str, str], SiteEngine] = OrderedDict()

    def of(self, digest: str) -> SiteEngine:
        """The engine of an approved study, by what the approval says.

        Raises:
            PolicyError: the study is not approved here, or its copy was changed.
            StudyError: it cannot run between hospitals, or does not name this site.
            DataError, NetworkError: this site's data, or the start file, does not fit it.
        """
        method = self._approvals.read(digest).method
        key = (digest, method)
        if key not in self._warm:
            while len(self._warm) >= KEPT:
                self._warm.popitem(last=False)
            self._warm[key] = self._built(digest, method)
        self._warm.move_to_end(key)
        return self._warm[key]

    def _built(self, digest: str, method: str) -> SiteEngine:
        study, membership = self._approvals.study(digest), read_membership(self._folder)
        source = f"study {study.name!r}"
        require_deployable(study, method, source)
        site = federated_site(study, membership.site, source)
        applied = plan(study, method)
        data = replace(load_site(Path(membership.data), study.task), name=site.name)
        vector = None
        if applied.has_gate:
            vector = site_vectors(study.network.gate, [(one.name, one.procedure) for one in study.sites])[site.name]
        setup = SiteSetup(
            site.name,
            [data],
            self._vault.folder / digest,
            read_start(study),
            vector,
            self._vault.files(digest, site.name),
        )
        return SiteEngine(applied, digest, setup, self._device)


@dataclass(frozen=True)
class ApprovedWork:
    """What the policy sees of one request's engine: it is built at the first look, which is after the approval."""

    engines: Engines
    study: str
    watch: Watch

    @property
    def contract(self) -> Contract:
        """Of the engine."""
        return self._engine.contract

    def cohort(self) -> Cohort:
        """Of the engine."""
        return self._engine.cohort()

    def work(self, request: Request, packed: Packed) -> tuple[Update | None, Report]:
        """Of the engine, watched."""
        return self._engine.work(request, packed, self.watch)

    @cached_property
    def _engine(self) -> SiteEngine:
        self.watch("loading", 0, 0)
        return self.engines.of(self.study)

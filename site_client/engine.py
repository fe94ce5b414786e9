"""The site engine: trains and evaluates one site from (request, update). It owns the site's private state.

The same engine serves a simulation and a hospital. It knows neither Flower nor the network between them; what goes
in and out are the plain objects of `fedsurg.sharing`.
"""

import copy
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fedsurg.data.augment import Augmentation
from fedsurg.data.clips import ClipDataset
from fedsurg.data.loader import PooledLoader
from fedsurg.data.magnification import MAGNIFICATION, magnified
from fedsurg.data.site import SiteData
from fedsurg.errors import ContractError, FederationError
from fedsurg.files import derived_seed
from fedsurg.learning.evaluate import Quick, quick_validation
from fedsurg.learning.exchange import give_shared, take_shared
from fedsurg.learning.local import Schedule, Trained, to_device
from fedsurg.learning.loss import LossWeights, SegmentationLoss
from fedsurg.learning.objectives import Learner, Work, learn, steps_on_shared
from fedsurg.learning.optimiser import freeze
from fedsurg.methods.registry import Plan
from fedsurg.metrics.summary import mean_of_known
from fedsurg.sharing.protocol import Report, Request
from fedsurg.sharing.update import Packed, Update
from site_client.policy import Cohort
from site_client.private_state import PrivateState, PrivateStore
from site_client.site_files import PlainFiles, SiteFiles

PERSONAL, BEST = "personal", "best"  # names of the personalised model, and of the best one so far

Watch = Callable[[str, int, int], None]  # is told phase, step and steps (0: no number of them) of the work


def unwatched(phase: str, step: int, steps: int) -> None:
    """For work that nobody watches."""


@dataclass(frozen=True)
class SiteSetup:
    """All that a site brings to a study.

    Args:
        name: of the site.
        sources: its data; more than one only where sites are pooled (the `central` baseline).
        folder: where private state and the personalised model are kept.
        start: tensors of the pre-trained start by canonical name.
        text_vector: of the site's prompt, for the gate.
        files: in place of `folder`: the hospital's vault. None: plain files in `folder`.
    """

    name: str
    sources: Sequence[SiteData]
    folder: Path
    start: Mapping[str, Tensor]
    text_vector: Tensor | None = None
    files: SiteFiles | None = None


class SiteEngine:
    """One site in one study under one method."""

    def __init__(self, plan: Plan, digest: str, setup: SiteSetup, device: torch.device) -> None:
        self.name, self.folder = setup.name, setup.folder
        self._plan, self._digest, self._device = plan, digest, device
        study = plan.study
        self.network = plan.network(setup.text_vector)
        self.network.load_tensors(setup.start)
        to_device(self.network, device)
        self.contract = plan.contract(self.network)
        freeze(self.network.tensors(), [e.name for e in self.contract.entries if e.scope == "frozen"])
        self._learner = Learner(self.network, study.local, self.contract.site)
        self._start = setup.start
        self._own: Learner | None = None  # of the personal model, where it is another one than the network
        if plan.method.own_model:
            self._own = Learner(copy.deepcopy(self.network), study.local, self.network.tensors())
        self._setup_data(setup.sources)
        self._files: SiteFiles = setup.files or PlainFiles(setup.folder, setup.name)
        self._store = PrivateStore(self._files, digest, setup.name)
        self._fresh = copy.deepcopy(self._state(0))
        self._round = -1  # the round whose private state is in memory; -1: none, look on disk
        self._scored_cases = 0

    def work(self, request: Request, packed: Packed, watch: Watch = unwatched) -> tuple[Update | None, Report]:
        """Answer one request.

        What `watch` raises ends the work there; on disk everything is then as before it.

        1. Refuse a request of another study or contract, and tensors that break the contract.
        2. Take up the private state from before this round, and the shared tensors.
        3. Score the site's model as it is then: as received, or its own model where it has trained one.
        4. For `finish`: keep the personalised model; done.
        5. Train, score again, save the private state; the shared tensors go out.

        Raises:
            ContractError: the request or its tensors are not what was agreed.
            CheckpointError: private state cannot be read or written.
        """
        started = time.perf_counter()
        waited = self._loader.waited_s
        self._check(request)
        take_shared(self.network, Update.unpack(packed, self.contract))
        self._restore(request.round)
        scored = time.perf_counter()
        received = self._validate(request, watch)
        self._scored_cases = received.cases
        validate_s = time.perf_counter() - scored
        self._keep_best(request.round, received)
        if request.work == "finish":
            self._keep_personal_model()
            return None, self._report(received, Quick(), None, validate_s, 0.0, started)
        trained = self._train(request.round, watch)
        scored = time.perf_counter()
        after = self._validate(request, watch)
        self._scored_cases = min(received.cases, after.cases)
        validate_s += time.perf_counter() - scored
        watch("saving", 0, 0)
        self._save(request.round)
        data_s = self._loader.waited_s - waited
        return give_shared(self.network, self.contract), self._report(
            received, after, trained, validate_s, data_s, started
        )

    def cohort(self) -> Cohort:
        """How many cases a round of this study trains on here, and how many the last answer's scores are over."""
        return Cohort(self._trained_cases, self._scored_cases)

    def personal_model(self) -> dict[str, Tensor]:
        """The personalised model that `finish` kept, all tensors by canonical name.

        Raises:
            CheckpointError: the study has not been finished at this site.
        """
        return self._files.read(PERSONAL)[0]

    @property
    def _scored(self) -> Learner:
        """What the site is served by: its own model once it has trained one, else the network it received."""
        return self._own if self._own and self._round else self._learner

    def _setup_data(self, sources: Sequence[SiteData]) -> None:
        study = self._plan.study
        size, history = study.task.image_size, self.network.history
        weights = LossWeights.of(study.local)
        self.sources = tuple(sources)
        self._losses = [SegmentationLoss(site.labels, weights).to(self._device) for site in sources]
        datasets = [ClipDataset(site, site.split("train"), size, history) for site in sources]
        self.magnification = max(self._plan.magnification(dataset) for dataset in datasets)
        if self.magnification != 1:
            larger = magnified(size, self.magnification)
            datasets = [ClipDataset(site, site.split("train"), larger, history) for site in sources]
        self._validation = [ClipDataset(site, site.split("val"), datasets[0].size, history) for site in sources]
        self._samples = sum(len(dataset) for dataset in datasets)
        self._trained_cases = sum(map(self._cases_of_a_round, datasets))
        augmentation = Augmentation(study.local.augmentation, size)
        self._loader = PooledLoader(datasets, augmentation, study.local.batch_size)

    def _cases_of_a_round(self, dataset: ClipDataset) -> int:
        """Of at least how many cases the clips are on which a round trains what is sent.

        Each case is drawn once before any is drawn again. Steps that do not begin with the first draw may hold the end
        of one turn and the beginning of the next: then of half as many.
        """
        local, objective = self._plan.study.local, self._plan.method.objective
        steps = steps_on_shared(objective, self.contract, local, local.steps)
        clips = steps * local.batch_size
        cases = len({dataset.row(index).case for index in range(len(dataset))})
        return min(cases, clips if steps == local.steps else (clips + 1) // 2)

    def _check(self, request: Request) -> None:
        if request.study != self._digest:
            raise ContractError(
                f"the request is of study {request.study[:12]}, this site runs {self._digest[:12]}; "
                "get the coordinator's study file and review it"
            )
        if request.contract != self.contract.digest:
            raise ContractError("the request has another sharing contract; use the same fedsurg version at both ends")
        rounds = self._plan.study.federation.rounds
        if request.round > (rounds if request.work == "train" else rounds + 1):
            raise ContractError(f"the request is to {request.work} in round {request.round}, the study has {rounds}")

    def _restore(self, number: int) -> None:
        """Private state and optimiser as they were before round `number`."""
        state = self._store.before(number) or self._fresh
        if state.round == self._round:
            return
        self._learner.take_up(state.tensors, state.optimiser)
        if self._own:
            self._own.take_up(state.own, state.own_optimiser)
        self._round = state.round

    def _train(self, number: int, watch: Watch) -> Trained:
        study = self._plan.study
        steps = study.local.steps * len(self.sources)
        models = 2 if self._plan.method.objective == "personal" else 1
        done, first = itertools.count(), self._round == 0
        self._round = -1  # from here on memory is ahead of the disk
        if not study.local.keep_optimiser:
            for learner in filter(None, (self._learner, self._own)):
                learner.forget()
        work = Work(
            self._loader,
            self._losses,
            steps,
            derived_seed(study.seed, "local", self.name, number),
            Schedule.of(study.local, steps, number, study.federation.rounds),
            study.local,
            self._device,
            first,
            lambda: watch("train", next(done), models * steps),
        )
        trained = learn(self._plan.method.objective, work, self._learner, self.contract, self._own, self._start)
        if trained.skipped == steps:
            raise FederationError(f"round {number}: no step had a finite loss; lower local.learning_rate")
        return trained

    def _save(self, number: int) -> None:
        self._store.save(self._state(number))
        self._round = number

    def _state(self, number: int) -> PrivateState:
        """All that the site keeps for itself, as it is now."""
        values = self._learner.values()
        state = PrivateState(number, {name: values[name] for name in self.contract.site}, {})
        if self._own:
            state = replace(state, own=self._own.values())
        if not self._plan.study.local.keep_optimiser:
            return state
        own_optimiser = self._own.optimiser.tensors() if self._own else {}
        return replace(state, optimiser=self._learner.optimiser.tensors(), own_optimiser=own_optimiser)

    def _validate(self, request: Request, watch: Watch) -> Quick:
        watch("validate", 0, 0)
        config = self._plan.study.evaluation
        last = request.work == "finish"
        if not last and request.round % config.every:
            return Quick()
        scores = [
            quick_validation(
                self._scored.network,
                dataset,
                dataset.site.labels,
                LossWeights.of(self._plan.study.local),
                device=self._device,
                max_frames=0 if last and config.choose == "last" else config.max_frames,
                mode=self._plan.study.local.mixed_precision,
                after_batch=lambda: watch("validate", 0, 0),
            )
            for dataset in self._validation
        ]
        return Quick(
            mean_of_known([score.loss for score in scores]),
            mean_of_known([score.dice for score in scores]),
            mean_of_known([score.iou for score in scores]),
            sum(score.cases for score in scores),
        )

    def _keep_best(self, number: int, received: Quick) -> None:
        """With `evaluation.choose = "best"`, remember the personalised model of the best round on validation cases."""
        if self._plan.study.evaluation.choose != "best" or math.isnan(received.iou):
            return
        best = self._files.read(BEST)[1]["iou"] if number > 1 and BEST in self._files.names() else -1.0
        if received.iou > best:
            self._files.write(
                BEST, self._scored.values(), {"iou": received.iou, "round": number} | self._magnification_fact()
            )

    def _keep_personal_model(self) -> None:
        if self._plan.study.evaluation.choose == "best" and BEST in self._files.names():
            tensors, facts = self._files.read(BEST)
        else:
            tensors, facts = self._scored.values(), {}
        self._files.write(PERSONAL, tensors, self._magnification_fact() | facts | {"study": self._digest})

    def _magnification_fact(self) -> dict[str, float]:
        """The fact of a model that says how much its frames are enlarged."""
        return {MAGNIFICATION: self.magnification}

    def _report(
        self,
        received: Quick,
        after: Quick,
        trained: Trained | None,
        validate_s: float,
        data_s: float,
        started: float,
    ) -> Report:
        train_s = trained.seconds if trained else 0.0
        return Report(
            samples=self._samples,
            train_loss=trained.loss if trained else math.nan,
            received_loss=received.loss,
            received_dice=received.dice,
            received_iou=received.iou,
            trained_loss=after.loss,
            trained_dice=after.dice,
            trained_iou=after.iou,
            train_s=train_s,
            validate_s=validate_s,
            data_s=data_s,
            other_s=time.perf_counter() - started - train_s - validate_s,
        )

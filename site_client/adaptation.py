"""Few-case adaptation: the private part of a finished model, fitted to a hospital that took no part in its training.

Fine-tuning a whole network on a few cases is known to collapse. Here only what the method keeps at a site anyway is
trained, and a guard decides whether the result is used at all. A score is that of a model as it will be used, on the
views of a frame that `[evaluation]` asks for. Where the method magnifies, all of this is done at the study's image size
and at the magnification that the few cases ask for (`fedsurg.data.magnification`):

1. Each of the few cases is left out once: the private part is trained on the other cases and scored on that one,
   before the first step and then every `check_every` steps. It ends early when it gets no better.
2. Magnification and number of steps are those with the best mean score of the left-out cases. Is that no better than
   the global model, which is the score at the study's size before the first step, the global model stays as it is.
3. Otherwise the private part is trained on all of the few cases for so many steps. Is it then worse on these very
   cases than the global model, it has collapsed, and the global model stays too.

A case is left out because frames of one operation resemble each other: a score on frames beside the training frames
would let a collapse pass. Cases of other splits than `train` are never read.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from fedsurg.data.augment import Augmentation
from fedsurg.data.clips import ClipDataset, evenly_spread
from fedsurg.data.loader import ClipLoader
from fedsurg.data.magnification import magnified
from fedsurg.data.site import SiteData
from fedsurg.errors import ContractError, DataError
from fedsurg.files import derived_seed
from fedsurg.learning.evaluate import finished_iou
from fedsurg.learning.local import Schedule, to_device, train
from fedsurg.learning.loss import LossWeights, SegmentationLoss
from fedsurg.learning.optimiser import Optimiser, freeze, seed_everything
from fedsurg.methods.registry import Plan
from fedsurg.metrics.summary import mean_of_known
from fedsurg.models.network import SegmentationNetwork, network_of
from fedsurg.study.config import Study
from fedsurg.study.splits import FEWEST_TO_ADAPT

_CACHE_BYTES = 2 << 30  # of decoded frames, over all trials: there is one for each of the few cases at a time
_PATIENCE = 2  # checks without a new best, then it ends


@dataclass(frozen=True)
class Adapted:
    """What came out of an adaptation.

    Args:
        tensors: of the model to use, by canonical name; where the guard kept it, the global model's own.
        changed: whether that is an adapted model; it then has the method's gate and adapters.
        cases: names of the few cases.
        steps: of the adapted model, or 0.
        magnification: of the adapted model, or 1.
        scores: magnification -> steps -> mean IoU of the left-out cases; at 1 and 0 that of the global model. NaN: no
            instrument anywhere.
        reason: one line for a person.
    """

    tensors: Mapping[str, Tensor]
    changed: bool
    cases: tuple[str, ...]
    steps: int = 0
    magnification: float = 1.0
    scores: Mapping[float, Mapping[int, float]] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Ward:
    """Whose model is adapted, and to what.

    Args:
        plan: the study under a method.
        model: the finished global model: all tensors of the network without gate and adapters.
        site: the hospital's data.
        text_vector: of its prompt, for the gate.
        device: to train on.
    """

    plan: Plan
    model: Mapping[str, Tensor]
    site: SiteData
    text_vector: Tensor | None
    device: torch.device

    @property
    def study(self) -> Study:
        """Its settings are in `[adaptation]`."""
        return self.plan.study

    def private_network(self) -> SegmentationNetwork:
        """The global model with a fresh private part: it still computes what the global model does."""
        return self.plan.network(self.text_vector)

    def frames(self, cases: Collection[str]) -> pd.DataFrame:
        """The labelled frames of some of its cases."""
        frames = self.site.split("train")
        return frames[frames["case"].isin(list(cases))]

    def clips(self, cases: Collection[str], factor: float = 1.0) -> ClipDataset:
        """The clips of some of its cases, magnified by a factor."""
        history = self.study.network.temporal.frames if self.study.network.temporal.enabled else 0
        size = magnified(self.study.task.image_size, factor)
        return ClipDataset(self.site, self.frames(cases), size, history, _CACHE_BYTES // self.study.adaptation.cases)


def few_cases(site: SiteData, most: int) -> tuple[str, ...]:
    """The first `most` cases of the train split, by name.

    Raises:
        DataError: there are fewer than two.
    """
    cases = site.cases("train")[:most]
    if len(cases) < FEWEST_TO_ADAPT:
        raise DataError(
            f"site {site.name!r} has {len(site.cases('train'))} cases in split 'train', adaptation needs "
            f"{FEWEST_TO_ADAPT}: one to train on and one to check on; move a case there in its manifest (a simulation "
            "may also do without: adaptation.enabled = false)"
        )
    return cases


def adapt(ward: Ward) -> Adapted:
    """Adapt the private part of a global model, or keep the global model; the same for the same study and data.

    Raises:
        ContractError: the method keeps nothing at a site.
        DataError: the site has too few cases in its train split, or a file of them cannot be used.
    """
    config = ward.study.adaptation
    private = tuple(ward.plan.contract(ward.private_network()).site)
    if not private:
        raise ContractError(
            f"{ward.plan.method.name} keeps no part of the network at a site, so there is nothing to adapt; use the "
            "global model as it is, or a method with a private part such as fedst"
        )
    cases = few_cases(ward.site, config.cases)
    factors = sorted({1.0, ward.plan.magnification(ward.clips(cases))})
    scores = {factor: _cross_validated(ward, private, cases, factor) for factor in factors}
    kept = scores[1.0][0]
    if math.isnan(kept):
        reason = "no frame of the few cases shows an instrument, nor is one found there: nothing can be compared"
        return Adapted(ward.model, False, cases, scores=scores, reason=reason)
    factor, steps = _best(scores)
    if (factor, steps) == (1.0, 0):
        tried = "no number of steps" + (f", magnified {factors[-1]:g} times or not," if len(factors) > 1 else "")
        reason = f"{tried} was better on left-out cases than the global model (IoU {kept:.3f})"
        return Adapted(ward.model, False, cases, scores=scores, reason=reason)
    before = _Trial(ward, ward.private_network(), private, cases).score(cases)
    last = _Trial(ward, ward.private_network(), private, cases, factor)
    last.advance_to(steps)
    after = last.score(cases)
    if not after >= before:
        reason = f"trained on all cases it fell on these very cases, from IoU {before:.3f} to {after:.3f}"
        return Adapted(ward.model, False, cases, scores=scores, reason=reason)
    work = f"{steps} steps" if factor == 1 else f"{steps} steps on frames magnified {factor:g} times"
    reason = f"{work}; left-out cases rose from IoU {kept:.3f} to {scores[factor][steps]:.3f}"
    return Adapted(last.tensors(), True, cases, steps, factor, scores, reason)


def finetune(ward: Ward) -> dict[str, Tensor]:
    """The known-bad control: all parameters of the global model, all steps, all of the few cases, and no guard, at
    the study's size.

    Raises:
        DataError: as `adapt`.
    """
    cases = few_cases(ward.site, ward.study.adaptation.cases)
    network = network_of(ward.study)
    trial = _Trial(ward, network, tuple(network.tensors()), cases)
    trial.advance_to(ward.study.adaptation.steps)
    return trial.tensors()


def _best(scores: Mapping[float, Mapping[int, float]]) -> tuple[float, int]:
    """Magnification and steps of the best score; of equal ones the smaller, and 1 and 0 where nothing has a score."""
    known = {
        (factor, steps): score
        for factor, found in scores.items()
        for steps, score in found.items()
        if not math.isnan(score)
    }
    return max(known, key=lambda each: (known[each], -each[0], -each[1]), default=(1.0, 0))


def _cross_validated(ward: Ward, private: Sequence[str], cases: Sequence[str], factor: float) -> dict[int, float]:
    """Steps -> mean IoU over the cases, each scored by a private part that was trained on the others."""
    config = ward.study.adaptation
    trials = {
        left_out: _Trial(ward, ward.private_network(), private, [case for case in cases if case != left_out], factor)
        for left_out in cases
    }
    checks = [*range(0, config.steps, config.check_every), config.steps]
    scores: dict[int, float] = {}
    for steps in checks:
        for trial in trials.values():
            trial.advance_to(steps)
        scores[steps] = mean_of_known([trial.score([left_out]) for left_out, trial in trials.items()])
        if math.isnan(scores[0]) or _stale(list(scores.values())):
            break
    return scores


def _stale(scores: Sequence[float]) -> bool:
    """Whether the last checks brought no new best."""
    return len(scores) > _PATIENCE and not max(scores[-_PATIENCE:]) > max(scores[:-_PATIENCE])


class _Trial:
    """One training of some tensors on some of the cases, that can be gone on with and scored at any time."""

    def __init__(
        self,
        ward: Ward,
        network: SegmentationNetwork,
        names: Collection[str],
        cases: Sequence[str],
        factor: float = 1.0,
    ) -> None:
        self._ward, self._network, self._cases, self._factor = ward, network, tuple(cases), factor
        self._done = 0
        study = ward.study
        network.load_tensors(ward.model)
        to_device(network, ward.device)
        freeze(network.tensors(), [name for name in network.tensors() if name not in set(names)])
        rate, local = study.adaptation.learning_rate, study.local
        self._optimiser = Optimiser(network.tensors(), rate, local.weight_decay, local.gradient_clip)
        augmentation = Augmentation(local.augmentation, study.task.image_size)
        self._loader = ClipLoader(ward.clips(cases, factor), augmentation, local.batch_size)
        self._loss = SegmentationLoss(ward.site.labels, LossWeights.of(local)).to(ward.device)

    def advance_to(self, steps: int) -> None:
        """Train until `steps` steps are done, at a constant rate."""
        study, every = self._ward.study, self._ward.study.adaptation.check_every
        while self._done < steps:
            count = min(every, steps - self._done)
            seed = derived_seed(study.seed, "adaptation", self._ward.site.name, *self._cases, self._done)
            seed_everything(seed)
            batches = ((0, batch) for batch in self._loader.batches(count, seed))
            schedule = Schedule(self._done, steps, 0, "constant")
            train(self._network, [self._loss], batches, self._optimiser, schedule, study.local, self._ward.device)
            self._done += count

    def score(self, cases: Sequence[str]) -> float:
        """Mean IoU of cases, each over at most `evaluation.max_frames` of its frames, as a finished model sees them."""
        study, ward = self._ward.study, self._ward
        ious = []
        for case in cases:
            frames = ward.frames([case])
            few = frames.iloc[evenly_spread(len(frames), study.evaluation.max_frames)]
            ious.append(finished_iou(study, self._network, ward.site, few, ward.device, self._factor))
        return mean_of_known(ious)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the network, by canonical name."""
        return {name: value.detach().cpu().clone() for name, value in self._network.tensors().items()}

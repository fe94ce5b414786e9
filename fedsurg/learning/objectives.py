"""What a site minimises in a round, by the name in a method's row. L is the segmentation loss.

    plain       L(w)
    proximal    L(w) + mu/2 |w - w_received|^2 over the shared tensors                   FedProx, Li 2020
    head-first  L(w) over the private tensors alone, then over the shared ones alone      FedRep, Collins 2021
    personal    L(w), which is sent, and beside it, in a copy v of the whole network
                that stays: L(v) + lambda/2 |v - w_received|^2                            Ditto, Li 2021
    averaged    L(w), which is sent; what stays is the moving average of the trained
                networks, held near the start w_0 by a share s of it:                     as in SWA, Izmailov 2018,
                v <- d v + (1 - d) ((1 - s) w + s w_0) after each round                   and WiSE-FT, Wortsman 2022

All take the study's number of steps on the same batches; `personal` takes them once for each of its two models.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn

from fedsurg.data.loader import Batch, PooledLoader
from fedsurg.learning.local import Penalty, Schedule, Trained, train
from fedsurg.learning.loss import SegmentationLoss
from fedsurg.learning.midway import moved_towards
from fedsurg.learning.optimiser import Optimiser, seed_everything
from fedsurg.methods.registry import Objective
from fedsurg.models.network import SegmentationNetwork
from fedsurg.sharing.contract import Contract
from fedsurg.study.config import LocalConfig


class Learner:
    """A network and the AdamW that trains it: trained, saved and taken up together.

    Args:
        network: on its device; tensors that are frozen need no gradient.
        config: `[local]`.
        private: names of the tensors that train at `site_rate_factor` times the learning rate.
    """

    def __init__(self, network: SegmentationNetwork, config: LocalConfig, private: Collection[str]) -> None:
        self.network = network
        self._config, self._private = config, tuple(private)
        self.forget()

    def forget(self) -> None:
        """Begin with new moments."""
        config, factors = self._config, dict.fromkeys(self._private, self._config.site_rate_factor)
        self.optimiser = Optimiser(
            self.network.tensors(), config.learning_rate, config.weight_decay, config.gradient_clip, factors
        )

    def values(self) -> dict[str, Tensor]:
        """All tensors by canonical name, without gradients; views, not copies."""
        return {name: value.detach() for name, value in self.network.tensors().items()}

    def take_up(self, tensors: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
        """Values of some of the tensors, and the optimiser's; without moments it begins with new ones."""
        self.network.load_tensors(tensors)
        self.forget()
        self.optimiser.load_tensors(moments)


@dataclass(frozen=True)
class Work:
    """A round's batches and how they are learned from: the same for every model that `train` is called on.

    `first`: the site has not worked in this study before. `before_step` is called before each step of each model; what
    it raises ends the work there.
    """

    loader: PooledLoader
    losses: Sequence[SegmentationLoss]
    steps: int
    seed: int
    schedule: Schedule
    config: LocalConfig
    device: torch.device
    first: bool = False
    before_step: Callable[[], None] = lambda: None

    def batches(self) -> Iterator[tuple[int, Batch]]:
        """The round's batches, from the first one; also seeds torch."""
        seed_everything(self.seed)
        return map(self._announced, self.loader.batches(self.steps, self.seed))

    def train(self, learner: Learner, penalty: Penalty | None = None) -> Trained:
        """All steps on all tensors."""
        return self.train_on(self.batches(), learner, self.schedule, penalty)

    def train_on(
        self,
        batches: Iterable[tuple[int, Batch]],
        learner: Learner,
        schedule: Schedule,
        penalty: Penalty | None = None,
    ) -> Trained:
        """Steps on given batches."""
        return train(
            learner.network,
            self.losses,
            batches,
            learner.optimiser,
            schedule,
            self.config,
            self.device,
            penalty=penalty,
        )

    def _announced(self, batch: tuple[int, Batch]) -> tuple[int, Batch]:
        self.before_step()
        return batch


def learn(
    objective: Objective,
    work: Work,
    learner: Learner,
    contract: Contract,
    own: Learner | None,
    start: Mapping[str, Tensor],
) -> Trained:
    """One round of local work.

    Args:
        objective: of the method.
        work: batches and schedule.
        learner: of the network whose shared tensors have just been received, and will be sent.
        contract: which tensors are shared.
        own: of the site's own model, for `personal` and `averaged`.
        start: tensors of the study's start by canonical name, for `averaged`.

    Returns:
        What the training of the site's own model did, in the seconds of all training.
    """
    if objective == "proximal":
        shared = {name: learner.network.tensors()[name] for name in contract.shared}
        return work.train(learner, proximal(shared, learner.values(), work.config.proximal_mu))
    if _head_is_first(objective, contract):
        return _head_first(work, learner, contract)
    if objective == "personal" and own:
        return _personal(work, learner, own)
    if objective == "averaged" and own:
        return _averaged(work, learner, own, start)
    return work.train(learner)


def proximal(parameters: Mapping[str, nn.Parameter], anchor: Mapping[str, Tensor], weight: float) -> Penalty | None:
    """`weight`/2 times the squared distance of `parameters` from the present values of `anchor`; None if it is 0."""
    if not weight:
        return None
    pairs = [(value, anchor[name].detach().clone()) for name, value in parameters.items() if value.requires_grad]

    def penalty(*_: object) -> Tensor:
        return 0.5 * weight * torch.stack([(value - held).square().sum() for value, held in pairs]).sum()

    return penalty if pairs else None


@contextmanager
def only(network: SegmentationNetwork, names: Collection[str]) -> Iterator[None]:
    """Within, no tensor but `names` is trained."""
    resting = [value for name, value in network.tensors().items() if name not in names and value.requires_grad]
    for value in resting:
        value.requires_grad_(False)
    try:
        yield
    finally:
        for value in resting:
            value.requires_grad_(True)


def steps_on_shared(objective: Objective, contract: Contract, config: LocalConfig, steps: int) -> int:
    """How many of a round's `steps`, the last ones, train the tensors that are sent."""
    return steps - _head_steps(config, steps) if _head_is_first(objective, contract) else steps


def _head_is_first(objective: Objective, contract: Contract) -> bool:
    return objective == "head-first" and bool(contract.site and contract.shared)


def _head_steps(config: LocalConfig, steps: int) -> int:
    return min(max(round(config.head_share * steps), 1), steps - 1)


def _head_first(work: Work, learner: Learner, contract: Contract) -> Trained:
    head = _head_steps(work.config, work.steps)
    batches = work.batches()
    with only(learner.network, contract.site):
        first = work.train_on(islice(batches, head), learner, work.schedule)
    with only(learner.network, contract.shared):
        rest = work.train_on(batches, learner, replace(work.schedule, first=work.schedule.first + head))
    # the body's loss, as it is of the model that stands at the end
    return Trained(rest.loss, first.skipped + rest.skipped, first.seconds + rest.seconds)


def _personal(work: Work, learner: Learner, own: Learner) -> Trained:
    pull = proximal(own.network.tensors(), learner.values(), work.config.personal_lambda)
    sent = work.train(learner)
    kept = work.train(own, pull)
    return Trained(kept.loss, max(sent.skipped, kept.skipped), sent.seconds + kept.seconds)


def _averaged(work: Work, learner: Learner, own: Learner, start: Mapping[str, Tensor]) -> Trained:
    """A model that has just trained at a site suits it better than the average of all sites that comes back; the mean
    over some rounds suits it better still, as what is chance in each goes out; and with some of the start in it, it
    does better at the next case, which is like none that it was trained on.
    """
    trained = work.train(learner)
    keep = 0.0 if work.first else work.config.own_decay
    with torch.no_grad():
        new = moved_towards(learner.values(), start, work.config.start_share)
        for name, value in own.network.tensors().items():
            value.lerp_(new[name], 1 - keep)
    return trained

"""What a study's server is built from: the same in a simulation and in a deployed federation."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from fedsurg.data.clips import ClipDataset
from fedsurg.data.site import load_site
from fedsurg.errors import FedsurgError
from fedsurg.learning.server_step import ServerStep, server_step
from fedsurg.methods.registry import Plan
from fedsurg.models.text import site_vectors
from fedsurg.sharing.contract import Contract
from fedsurg.sharing.update import Update
from server.checkpoint import ServerState


class ServerSetup:
    """A study under one method, at the server.

    Args:
        plan: of the study under its method.
        start: reads the tensors of the pre-trained start.
        synthetic: site folder of the server's synthetic video; none where no server learns on it.
        device: that the server learns on.
    """

    def __init__(
        self, plan: Plan, start: Callable[[], dict[str, Tensor]], synthetic: Path | None, device: torch.device
    ) -> None:
        self.plan, self.study, self.device = plan, plan.study, device
        self._start, self._synthetic = start, synthetic

    @cached_property
    def start(self) -> dict[str, Tensor]:
        """Tensors of the common start."""
        return self._start()

    @cached_property
    def vectors(self) -> dict[str, Tensor]:
        """Text vector of each site."""
        return site_vectors(self.study.network.gate, [(site.name, site.procedure) for site in self.study.sites])

    def contract(self) -> Contract:
        """The sharing contract of the sites' networks."""
        vector = next(iter(self.vectors.values())) if self.plan.has_gate else None
        return self.plan.contract(self.plan.network(vector))

    def server(self, contract: Contract) -> ServerStep:
        """The method's server step on the synthetic video."""
        synthetic = None
        if self.plan.method.server != "none":
            assert self._synthetic  # prepared wherever a method's server learns
            site = load_site(self._synthetic, self.study.task)
            history = self.study.network.temporal.frames if self.study.network.temporal.enabled else 0
            synthetic = ClipDataset(site, site.split("train"), self.study.task.image_size, history)
        return server_step(self.plan, contract, self.start, synthetic, self.device)

    def first(self, contract: Contract) -> ServerState:
        """The server's state before round 1: the start's shared tensors."""
        return ServerState(0, Update.of({name: self._initial(name).numpy() for name in contract.shared}))

    def _initial(self, name: str) -> Tensor:
        if name not in self.start:
            raise FedsurgError(
                f"{name} is shared, but the start does not have it; only parts of the start can be shared"
            )
        return self.start[name].float().contiguous()

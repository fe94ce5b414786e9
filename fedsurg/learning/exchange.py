"""Between a network and an update: the tensors that travel."""

import torch

from fedsurg.models.network import SegmentationNetwork
from fedsurg.sharing.contract import Contract
from fedsurg.sharing.update import Update


def take_shared(network: SegmentationNetwork, update: Update) -> None:
    """Copy an update into a network."""
    network.load_tensors({name: torch.from_numpy(value.copy()) for name, value in update.tensors.items()})


def give_shared(network: SegmentationNetwork, contract: Contract) -> Update:
    """A network's shared tensors as an update."""
    tensors = network.tensors()
    return Update.of({name: tensors[name].detach().cpu().float().numpy() for name in contract.shared})

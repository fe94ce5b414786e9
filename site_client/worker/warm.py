"""What takes seconds is loaded before the first request: torch, the network's libraries, the device."""

from pathlib import Path

import torch

from fedsurg.learning.device import choose_device
from site_client.vault import Vault
from site_client.worker.engines import Engines


def warm(folder: Path, vault: Vault, device: str, threads: int) -> Engines:
    """The engines of a site, none of them built yet.

    Args:
        folder: of the site.
        vault: of the site, open.
        device: its name, or auto.
        threads: of torch; 0: torch's own choice.

    Raises:
        FedsurgError: there is no such device.
    """
    import peft  # noqa: F401
    import timm  # noqa: F401

    if threads:
        torch.set_num_threads(threads)
    return Engines(folder, vault, choose_device(device))

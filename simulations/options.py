"""How a study is run on this machine, for every command that runs one; nothing here changes what is computed."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where results, data and caches lie, and how much of the machine is used. The device may change rounding.

    Args:
        out: the run folder.
        cache: folder of rendered video and starts.
        resume: go on in an existing run folder.
        data: folder that holds the sites' data folders.
        jobs: how many jobs run at once.
        threads: of torch in each job.
        device: name of the device, or auto.
    """

    out: Path
    cache: Path
    resume: bool = False
    data: Path | None = None
    jobs: int = 1
    threads: int = 1
    device: str = "auto"

"""The machine: what is installed, room on disk and in memory, and what trains."""

import os
import shutil
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from fedsurg.bundle import fedsurg_bundle
from site_client.doctor.finding import Site, ToDoError

GIB = 1 << 30
FREE_DISK = 2 * GIB  # vault, logs and a model exported: under 1 GiB with the paper's network, and some air
FREE_MEMORY = 4 * GIB  # the worker with torch, a batch of the paper's size and the data loader

_MEMORY = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_NVIDIA = Path("/proc/driver/nvidia/version")


def versions(_: Site) -> str:
    """What fedsurg needs is installed, in the versions that it was made for; and the app that alone may run here."""
    try:
        needed = [Requirement(line) for line in metadata.requires("fedsurg") or ()]
    except metadata.PackageNotFoundError:
        raise ToDoError("fedsurg is not installed as a package; install it with pip") from None
    for one in needed:
        if one.marker and not one.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            raise ToDoError(f"{one.name} is missing; install fedsurg again with pip") from None
        if not one.specifier.contains(found, prereleases=True):
            raise ToDoError(
                f"{one.name} {found} is installed, needed is {one.specifier}; install fedsurg again with pip"
            )
    shown = [f"{name} {metadata.version(name)}" for name in ("fedsurg", "flwr", "torch")]
    return ", ".join([*shown, f"app {fedsurg_bundle().sha256[:12]}"])


def disk(site: Site) -> str:
    """Room for vault and logs."""
    free = shutil.disk_usage(site.folder).free
    if free < FREE_DISK:
        raise ToDoError(
            f"{_gib(free)} free at {site.folder}, the vault and the logs want {_gib(FREE_DISK)}; free some space"
        )
    return f"{_gib(free)} free"


def memory(_: Site) -> str:
    """Room for the worker."""
    free = min(_available(), _left_in_cgroup())
    if free < FREE_MEMORY:
        raise ToDoError(
            f"{_gib(free)} of memory free, the worker wants {_gib(FREE_MEMORY)}; end other programs or add some"
        )
    return f"{_gib(free)} free"


def device(_: Site) -> str:
    """What trains. torch is loaded only where it may find something: that takes some seconds."""
    if not _NVIDIA.exists():
        return f"processor, {os.cpu_count()} cores; no NVIDIA driver is here"
    import torch

    if not torch.cuda.is_available():
        raise ToDoError(
            f"an NVIDIA driver is here, and torch {torch.__version__} cannot use it; install torch for this driver "
            "(pytorch.org says which), or remove the driver to train on the processor"
        )
    facts = torch.cuda.get_device_properties(0)
    return f"{facts.name}, {_gib(facts.total_memory)}"


def _available() -> int:
    """Bytes that programs could get from this machine."""
    try:
        lines = _MEMORY.read_text("ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _left_in_cgroup() -> float:
    """Bytes left below the limit that a container or systemd set; infinite: there is none."""
    try:
        limit, used = ((_CGROUP / name).read_text("ascii").strip() for name in ("memory.max", "memory.current"))
        return float("inf") if limit == "max" else int(limit) - int(used)
    except OSError:
        return float("inf")


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"

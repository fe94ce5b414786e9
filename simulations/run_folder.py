"""The folder of a run: taken by one run of one study at a time, and what it says about the run."""

import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from itertools import chain, count
from pathlib import Path
from typing import Any

from fedsurg.data.manifest import find_manifest
from fedsurg.data.site_file import SITE_FILE
from fedsurg.errors import FedsurgError, InterruptedRunError, RunError
from fedsurg.files import digest_of, sha256_of_file, try_lock
from fedsurg.simulator.dataset import RECORD as RENDERED
from fedsurg.tensor_file import read_tensors
from simulations.preparation import Prepared

CLAIM = "claim.json"  # written first: says which study a run folder belongs to
RECORD = "run.json"  # what a run was made with, and the seconds spent on it
_INPUTS = {"start": "the start", "data": "data of sites", "video": "synthetic video"}
PACKAGES = (
    "fedsurg",
    "flwr",
    "torch",
    "timm",
    "peft",
    "segmentation-models-pytorch",
    "monai",
    "mitsuba",
    "embreex",
    "numpy",
)


@contextmanager
def claimed(folder: Path, digest: str, *, resume: bool, record: str = RECORD) -> Iterator[float]:
    """Hold a run folder for the study with this digest; gives the seconds already spent in it.

    A folder in which a run never began (its `record` is not there) is given back on an error, so that the same command
    can be given again.

    Raises:
        RunError: it exists and is not to be resumed, belongs to another study, is in use, or cannot be written.
    """
    spent = _resume(folder, digest, record) if resume else _take(folder, digest)
    with (folder / CLAIM).open() as claim:
        try:
            mine = try_lock(claim.fileno())
        except OSError as problem:  # a network's file system without locks
            raise RunError(f"{folder}: cannot be locked ({problem.strerror}); choose another --out") from problem
        if not mine:
            raise RunError(f"{folder}: another fedsurg is at work there; wait for it or choose another --out")
        try:
            yield spent
        except FedsurgError as problem:
            began = (folder / record).exists() or isinstance(problem, InterruptedRunError)
            if not resume and not began:
                _give_back(folder)
            raise


def inputs_of_run(record: Path, prepared: Prepared, option: str = "--out") -> dict[str, str]:
    """Digests of what a run keeps to when it goes on: its `start`, its sites' `data`, the server's `video`.

    Where a site's pictures lie does not count, what its manifest says does, and of rendered ones what drew them.

    Args:
        record: the run's, if it is there: what it was made with so far.
        prepared: of this command; without video where none of its methods' servers learns.
        option: that named the run's folder.

    Raises:
        RunError: the run began with another one.
        CheckpointError: the start cannot be read.
    """
    found = {
        "start": str(read_tensors(prepared.start)[1].get("digest", "")),
        "data": digest_of({name: _data_digest(folder) for name, folder in prepared.sites.items()}),
    }
    if prepared.synthetic:
        found["video"] = _data_digest(prepared.synthetic)
    began = json.loads(record.read_text()) if record.exists() else {}
    for key, digest in found.items():
        if began.get(key, digest) != digest:
            raise RunError(
                f"{record.parent}: began with {_INPUTS[key]} {began[key][:12]}, this command has {digest[:12]}; "
                "take those, and the version of fedsurg and of its simulator that made them, or choose another "
                f"{option}"
            )
    return {key: began[key] for key in _INPUTS if key in began} | found


def _data_digest(folder: Path) -> str:
    files = (folder / SITE_FILE, find_manifest(folder), folder / RENDERED)
    return digest_of({file.name: sha256_of_file(file) for file in files if file.is_file()})


def _take(folder: Path, digest: str) -> float:
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as problem:
        raise RunError(f"{folder}: cannot be used as a run folder ({problem}); choose another --out") from problem
    if taken:
        raise RunError(f"{folder}: exists already; choose another --out, or go on there with --resume")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / CLAIM).open("x") as claim:  # of two that come at once, one
            claim.write(json.dumps({"digest": digest}))
    except FileExistsError:
        raise RunError(f"{folder}: another fedsurg is at work there; wait for it or choose another --out") from None
    except OSError as problem:
        with suppress(OSError):
            _give_back(folder)
        raise RunError(f"{folder}: cannot be written ({problem.strerror}); choose another --out") from problem
    return 0.0


def _resume(folder: Path, digest: str, record: str) -> float:
    try:
        if not (folder / CLAIM).exists():
            raise RunError(f"{folder}: is no run folder, so there is nothing to resume; leave out --resume")
        claim = json.loads((folder / CLAIM).read_text())
        if claim["digest"] != digest:
            raise RunError(
                f"{folder}: was started with study {claim['digest'][:12]}, this one is {digest[:12]}; "
                "resume with the same study file and options, or choose another --out"
            )
        run = folder / record
        return float(json.loads(run.read_text())["wall_s"]) if run.exists() else 0.0
    except (OSError, KeyError, TypeError, ValueError) as problem:
        raise RunError(f"{folder}: cannot be used as a run folder ({problem}); choose another --out") from problem


def _give_back(folder: Path) -> None:
    (folder / CLAIM).unlink(missing_ok=True)
    with suppress(OSError):  # something else lies in it
        folder.rmdir()


def facts_of_run(device: str) -> dict[str, Any]:
    """Versions, machine, command and time, for the report."""
    import torch

    from fedsurg.learning.device import choose_device

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    chosen = choose_device(device)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type
    return {
        "versions": {"python": platform.python_version()} | _versions(),
        "machine": {
            "cpu": _processor(),
            "cores": os.cpu_count() or 1,
            "memory_gb": round(memory, 1),
            "device": name,
        },
        "command": " ".join(["fedsurg", *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def free_folder(base: Path, name: str) -> Path:
    """A run folder below `base` that does not exist yet, named by study and time."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    names = chain([f"{name}-{stamp}"], (f"{name}-{stamp}-{number}" for number in count(2)))
    return next(folder for folder in map(base.joinpath, names) if not folder.exists())


def _versions() -> dict[str, str]:
    """Of the packages that results depend on, as far as this machine has them."""
    found = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found

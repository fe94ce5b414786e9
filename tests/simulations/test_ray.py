"""The ray engine gives the inline engine's numbers to the last bit, and leaves nothing running."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedsurg.errors import InterruptedRunError
from fedsurg.tensor_file import read_tensors
from simulations.job import Job
from simulations.run_job import run_job


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # ray and Flower's simulation warn of each other's old habits
def test_inline_and_ray_give_the_same_numbers(
    straight: Any,
    make_job: Callable[..., Job],
    timeless: Callable[[Any], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PYTHONPATH", "OMP_NUM_THREADS", "RAY_USAGE_STATS_ENABLED", "RAY_DEDUP_LOGS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # what ray and Flower change is put back
    job = make_job(engine="ray", processes=2)
    with pytest.raises(InterruptedRunError, match="resume with --resume"):
        run_job(job, lambda record: None, lambda: True)
    records: list[dict[str, Any]] = []
    run_job(job, records.append, lambda: False)
    for ray_round, inline_round in zip(timeless(records), timeless(straight.rounds), strict=True):
        sizes = [(ray_round.pop(key), inline_round.pop(key)) for key in ("bytes_out", "bytes_in")]
        assert all(abs(ray - inline) < 200 for ray, inline in sizes)  # node numbers are longer there
        assert ray_round == inline_round
    files = ["server/checkpoint.safetensors", "server/global.safetensors"]
    files += [f"sites/{site}/personal.safetensors" for site in ("north", "east")]
    for file in files:
        inline, ray = (read_tensors(folder / file)[0] for folder in (straight.folder, job.folder))
        assert [name for name in inline if inline[name].numpy().tobytes() != ray[name].numpy().tobytes()] == [], file
    assert (job.folder / "scores.csv").read_text() == (straight.folder / "scores.csv").read_text()
    deadline = time.monotonic() + 20
    while _descendants() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert _descendants() == []


def _descendants() -> list[str]:
    """Command lines of ray processes that this process has started, directly or not."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    mine = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in mine} - mine:
        mine |= more
    lines = []
    for child in mine - {os.getpid()}:
        try:
            lines.append((Path("/proc") / str(child) / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [line for line in lines if "ray" in line]

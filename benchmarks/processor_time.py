"""Processor time of processes and of all that they started."""

from collections.abc import Mapping, Sequence

import psutil


def processor_seconds(processes: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Seconds so far, by kind of process; `processes` are process numbers by kind, none the parent of another kind."""
    return {kind: sum(map(_with_children, numbers)) for kind, numbers in processes.items()}


def _with_children(number: int) -> float:
    """Of a process, its children that have ended and those that run."""
    top, total = psutil.Process(number), 0.0
    for one in (top, *top.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue  # its parent counts it now, or will with the next look
        total += times.user + times.system + times.children_user + times.children_system
    return total

"""Frames a second and memory of the simulator: whole clips of all profiles, on all cores, at two sizes.

python benchmarks/simulator.py [--clips N] [--frames 8] [--size 160x192] [--size 512x640] [--workers N]
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

from fedsurg.simulator import PROFILES, RenderRequest, render
from fedsurg.workers import usable_processors


def main() -> None:
    """Render and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=2 * len(PROFILES), help="by default two of each profile")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", action="append", help="height x width; repeat for several, the smallest first")
    parser.add_argument("--workers", type=int, default=usable_processors())
    options = parser.parse_args()
    for size in options.size or ["160x192", "512x640"]:
        height, width = (int(part) for part in size.split("x"))
        measure(RenderRequest(tuple(PROFILES), options.clips, options.frames, 1, height, width), options.workers)


def measure(request: RenderRequest, workers: int) -> None:
    """Render once and print speed and memory."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        render(request, Path(folder) / "video", workers=workers)
        seconds = time.perf_counter() - started
    frames = request.clips * request.frames
    # The largest of all workers so far: that of this size, as long as sizes grow. Linux counts in KiB.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    sys.stdout.write(
        f"{frames} frames of {request.height}x{request.width} in {seconds:.1f} s: {frames / seconds:.2f} frames/s with "
        f"{workers} workers; at most {peak:.0f} MiB each\n"
    )


if __name__ == "__main__":
    main()

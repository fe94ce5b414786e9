"""Frames a second of the simulator: whole clips of all profiles, on all cores.

python benchmarks/simulator.py [--clips 14] [--frames 8] [--size 160x192] [--workers N]
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from fedsurg.simulator import PROFILES, RenderRequest, render


def main() -> None:
    """Render and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=14)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", default="160x192", help="height x width")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    height, width = (int(part) for part in options.size.split("x"))
    request = RenderRequest(tuple(PROFILES), options.clips, options.frames, 1, height, width)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        render(request, Path(folder) / "video", workers=options.workers)
        seconds = time.perf_counter() - started
    frames = options.clips * options.frames
    sys.stdout.write(f"{frames} frames of {options.size} in {seconds:.1f} s: {frames / seconds:.1f} frames/s\n")


if __name__ == "__main__":
    main()

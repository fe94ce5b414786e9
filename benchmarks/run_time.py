"""Where a run's time went: the share spent in training, validation, server steps and scoring, and waiting for data.

    python benchmarks/run_time.py RUN_DIR

The rest is messages, checks, averaging, checkpoints and building networks. The wall time of a resumed job counts from
its last start, so only jobs whose rounds fit into it are shown.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def job_share(folder: Path) -> dict[str, float]:
    """Seconds and shares of one finished job; shares of its wall time."""
    done = json.loads((folder / "done.json").read_text())
    rounds = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    sites = [site["seconds"] for entry in rounds for site in entry["sites"].values()]
    training = sum(seconds["train"] for seconds in sites)
    validation = sum(seconds["validate"] for seconds in sites)
    server = sum(entry["seconds"].get("server", 0.0) for entry in rounds)
    useful = training + validation + server + done["score_s"]
    return {
        "wall_s": done["wall_s"],
        "useful": useful / done["wall_s"],
        "train": training / done["wall_s"],
        "validate": (validation + done["score_s"]) / done["wall_s"],
        "server": server / done["wall_s"],
        "waiting for data": sum(seconds["data"] for seconds in sites) / done["wall_s"],
    }


def main() -> None:
    """Print one line per finished job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    run = parser.parse_args().run
    if not any(run.glob("runs/*/done.json")):
        parser.error(f"{run}: no job has finished there; give the --out of a run")
    jobs: list[tuple[str, dict[str, Any]]] = [
        (path.parent.name, job_share(path.parent))
        for path in sorted(run.glob("runs/*/done.json"))
        if (path.parent / "history.jsonl").exists()
    ]
    for name, facts in jobs:
        if facts["useful"] > 1:
            sys.stdout.write(f"{name:<24}was resumed, and is left out\n")
            continue
        shares = "  ".join(f"{key} {100 * value:.1f} %" for key, value in facts.items() if key != "wall_s")
        sys.stdout.write(f"{name:<24}{facts['wall_s']:8.0f} s  {shares}\n")


if __name__ == "__main__":
    main()

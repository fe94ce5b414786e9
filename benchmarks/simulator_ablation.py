"""What each ingredient of the simulator is worth: starts trained without it, on real sites nobody trained on.

    python benchmarks/simulator_ablation.py studies/start.toml --data DIR [--backgrounds DIR] [--instruments DIR]

Trains one start on all of the simulator, one each without lighting, texture, instruments' finish and nuisance, and,
where folders of photographs are given, one with them composited in: same seed, clips and steps (`--clips`, `--frames`,
`--steps`). Each is scored as in benchmarks/transfer.py. What was rendered or trained before is taken from the cache.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from fedsurg.learning.device import choose_device
from fedsurg.simulator.ingredients import INGREDIENTS
from fedsurg.study_file.load import load_study
from fedsurg.tensor_file import read_tensors
from simulations.cli import default_cache, settings_of
from simulations.preparation import start_of
from simulations.progress import Progress
from simulations.transfer import site_folders, transfer


def main() -> None:
    """Train and score one start per variant; print a table row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds one data folder per site")
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--backgrounds", default="", help="folder of photographs of tissue")
    parser.add_argument("--instruments", default="", help="folder of cut-outs of instruments")
    parser.add_argument("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    budget = {
        "synthetic.clips": options.clips,
        "synthetic.frames": options.frames,
        "server.pretrain.steps": options.steps,
    }
    site_folders(options.data)
    studies = {
        name: load_study(options.study, overrides=budget | settings_of(tuple(options.settings)) | change)
        for name, change in variants(options.backgrounds, options.instruments).items()
    }
    for name, study in studies.items():
        with Progress(Console(stderr=True)) as progress:
            start = start_of(study, options.cache, options.device, progress.preparing)
            device = choose_device(options.device)
            table = transfer(study, read_tensors(start)[0], options.data, device, progress.preparing)
        sites = "  ".join(f"{row['site']} {row['iou']:.3f}" for row in table.to_dict("records"))
        sys.stdout.write(f"{name:<22}mean {table['iou'].mean():.3f}  {sites}\n")
        sys.stdout.flush()


def variants(backgrounds: str, instruments: str) -> dict[str, dict[str, Any]]:
    """Name of each variant and the study keys that make it."""
    found: dict[str, dict[str, Any]] = {"all of it": {}}
    found |= {f"without {name}": {"synthetic.plain": [name]} for name in INGREDIENTS}
    photographs = {"synthetic.backgrounds": backgrounds, "synthetic.instruments": instruments}
    if backgrounds or instruments:
        # cut-outs have no parts, so instruments are labelled whole
        found["with compositing"] = photographs | {"synthetic.whole_instruments": True}
    return found


if __name__ == "__main__":
    main()

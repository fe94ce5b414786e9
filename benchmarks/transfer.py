"""How well a start from synthetic video alone finds instruments at real sites.

    python benchmarks/transfer.py STUDY.toml --data DIR [--set KEY=VALUE ...] [--all-cases N] [--json FILE]

Trains the study's start (or takes its start file, `--set 'server.pretrain.start="FILE"'`) and scores it on the
validation cases of every site folder below DIR: IoU and Dice of instruments as a whole, per frame, then per case, then
per site. With --all-cases it is scored on all cases, by at most N frames of each. Nothing is trained on the sites. What
was rendered or trained before is taken from the cache.
"""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from fedsurg.files import require_writable, write_atomic
from fedsurg.learning.device import choose_device
from fedsurg.study_file.load import load_study
from fedsurg.tensor_file import read_tensors
from simulations.cli import default_cache, settings_of
from simulations.preparation import start_of
from simulations.progress import Progress
from simulations.transfer import all_cases, transfer, validation_cases


def main() -> None:
    """Train or read the start, score it, print one line per site and their mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds one data folder per site")
    parser.add_argument("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument(
        "--all-cases", type=int, metavar="N", help="all cases instead of val's, N frames of each at most; 0: all frames"
    )
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    if options.all_cases is not None and options.all_cases < 0:
        parser.error(f"--all-cases {options.all_cases}: give a number of frames, or 0 for all")
    if options.json:
        require_writable(options.json)  # before minutes go into what would be written there
    study = load_study(options.study, overrides=settings_of(tuple(options.settings)))
    cases = validation_cases if options.all_cases is None else all_cases(options.all_cases)
    with Progress(Console(stderr=True)) as progress:
        start = start_of(study, options.cache, options.device, progress.preparing)
        device = choose_device(options.device)
        table = transfer(study, read_tensors(start)[0], options.data, device, progress.preparing, cases)
    for row in table.to_dict("records"):
        sys.stdout.write(
            f"{row['site']:<16}IoU {row['iou']:.3f}  Dice {row['dice']:.3f}  "
            f"{row['cases']} cases  {row['frames']} frames\n"
        )
    sys.stdout.write(f"{'mean':<16}IoU {table['iou'].mean():.3f}  Dice {table['dice'].mean():.3f}\n")
    if options.json:
        facts = {"start": start.stem, "iou": table["iou"].mean(), "sites": json.loads(table.to_json(orient="records"))}
        write_atomic(options.json, json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()

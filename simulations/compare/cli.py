"""`fedsurg compare`."""

import shlex
from pathlib import Path
from typing import Any

import click

_PATH = click.Path(path_type=Path)
MOST_SEEDS = 1000


@click.command()
@click.argument("study_file", metavar="STUDY.toml", type=_PATH)
@click.option("--methods", help="all, or some as in fedst,fedavg,local; default: those of the study.")
@click.option("--seeds", type=int, default=3, show_default=True, help="How many: the study's own and those after it.")
@click.option(
    "--reference",
    default="",
    metavar="METHOD",
    help="Hold the others against this one; default: fedst, or the first method where it did not run.",
)
@click.option("--ablate", is_flag=True, help="FedST's controls instead of methods; beside them with --methods.")
@click.option("--leave-one-site-out", is_flag=True, help="Each federated site in turn is the unseen one; no folds.")
@click.option("--data", type=_PATH, help="Folder that holds one data folder per site.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Instead of any key of the study; repeat.")
@click.option("--out", type=_PATH, help="Folder of the comparison; default: runs/compare-STUDY-TIME.")
@click.option("--resume", is_flag=True, help="Go on in the folder --out, or add methods and seeds to it.")
@click.option("--jobs", type=click.IntRange(min=1), help="Cells at once; default: one per core.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of torch, per cell.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option("--cache", type=_PATH, help="Rendered video and starts; default: $FEDSURG_CACHE or ~/.cache/fedsurg.")
@click.option("--keep-models", is_flag=True, help="Keep the models of finished cells, not only their scores.")
@click.option("--models-of", type=_PATH, help="No rounds: score the models that a comparison kept in this folder.")
def compare(study_file: Path, methods: str | None, seeds: int, out: Path | None, resume: bool, **options: Any) -> None:
    """Hold methods against each other on STUDY.toml: same start, budget and batches, several seeds.

    A cell is one method with one seed on one fold (or without one site). Cells run side by side and resume where they
    were stopped; the folder then holds scores and summary as parquet and csv, a figure and compare.html.

    Example: fedsurg compare studies/five_sites.toml --methods all --seeds 3 --out runs/five --jobs 2
    """
    from fedsurg.errors import RunError, StudyError
    from simulations.cli import default_cache, read_study, settings_of
    from simulations.compare.plan import Plan, chosen_methods

    ablate, each_site, settings = (options.pop(name) for name in ("ablate", "leave_one_site_out", "settings"))
    reference = options.pop("reference")
    if not 1 <= seeds <= MOST_SEEDS:
        raise StudyError(f"--seeds {seeds}: how many runs of each method; give 1 to {MOST_SEEDS}")
    if resume and out is None:
        raise RunError("--resume needs --out, the folder of the comparison to go on with")
    given = settings_of(settings)
    if each_site and given.get("evaluation.folds"):
        raise StudyError("--leave-one-site-out: leaves out sites instead of folds; leave out --set evaluation.folds")
    left_out = {"evaluation.folds": 0, "evaluation.leave_one_site_out": True} if each_site else {}
    study = read_study(study_file, given | left_out)
    chosen = chosen_methods(methods, () if ablate else study.methods)
    plan = Plan(study, chosen, ablate, seeds, reference)

    # Slow to load: mistakes in the command are told before.
    from rich.console import Console

    from fedsurg.workers import usable_processors
    from simulations.compare.outputs import PAGE, write_outputs
    from simulations.compare.run import Options
    from simulations.compare.run import compare as run
    from simulations.compare.terminal import print_comparison
    from simulations.progress import Progress
    from simulations.run_folder import free_folder

    cache, jobs = options.pop("cache") or default_cache(), options.pop("jobs") or usable_processors()
    words = _command(
        study_file, chosen, seeds, reference=reference, ablate=ablate, each_site=each_site, settings=settings
    )
    words += " --data DIR" if options["data"] else ""
    words += " --models-of DIR" if options["models_of"] else ""
    folder = out or free_folder(Path("runs"), f"compare-{study.name}")
    console = Console()
    with Progress(console) as progress:
        whole, record = run(
            plan, Options(out=folder, command=words, resume=resume, cache=cache, jobs=jobs, **options), progress
        )
    summary = write_outputs(whole, record, folder)
    print_comparison(summary, console)
    console.print(f"page: {folder / PAGE}", highlight=False, markup=False, soft_wrap=True)


def _command(
    study_file: Path,
    methods: tuple[str, ...],
    seeds: int,
    *,
    reference: str,
    ablate: bool,
    each_site: bool,
    settings: tuple[str, ...],
) -> str:
    """The command as a page for everyone may show it: what decides the numbers, no path."""
    from fedsurg.report.redaction import setting_without_place

    words = ["fedsurg", "compare", study_file.name]
    words += ["--methods", ",".join(methods)] if methods else []
    words += ["--reference", reference] if reference else []
    words += ["--seeds", str(seeds)] + ["--ablate"] * ablate + ["--leave-one-site-out"] * each_site
    for setting in settings:
        words += ["--set", setting_without_place(setting)]
    return shlex.join(words)

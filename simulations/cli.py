"""`fedsurg simulate` and `fedsurg evaluate`."""

import os
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import click

from fedsurg.errors import StudyError
from fedsurg.study.config import Study

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("study_file", metavar="[STUDY.toml]", type=_PATH, required=False)
@click.option("--data", type=_PATH, help="Folder that holds one data folder per site.")
@click.option("--engine", type=click.Choice(["inline", "ray"]), default="inline", show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), help="Instead of the study's federation.rounds.")
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the study's seed.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Instead of any key of the study; repeat.")
@click.option("--method", "methods", multiple=True, help="Instead of the study's methods; may be repeated.")
@click.option("--fold", "folds", type=click.IntRange(min=0), multiple=True, help="Run only this fold; may be repeated.")
@click.option("--out", type=_PATH, help="Run folder; default: runs/STUDY-TIME.")
@click.option("--resume", is_flag=True, help="Go on in the run folder --out.")
@click.option("--jobs", type=click.IntRange(min=1), help="Methods and folds at once; default: one per core.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of torch, per job.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option("--cache", type=_PATH, help="Rendered video and starts; default: $FEDSURG_CACHE or ~/.cache/fedsurg.")
def simulate(
    study_file: Path | None,
    data: Path | None,
    out: Path | None,
    cache: Path | None,
    jobs: int | None,
    **options: Any,
) -> None:
    """Run STUDY.toml with all its sites on this machine; without a file, the built-in demo.

    Example: fedsurg simulate studies/realsites.toml --data /data/sites --out runs/real
    """
    from rich.console import Console

    from fedsurg.errors import RunError
    from fedsurg.workers import usable_processors
    from simulations.progress import Progress
    from simulations.run import Options
    from simulations.run import simulate as run
    from simulations.run_folder import free_folder

    overrides = {
        key: value
        for key, value in (
            ("federation.rounds", options.pop("rounds")),
            ("seed", options.pop("seed")),
            ("methods", list(options.pop("methods")) or None),
        )
        if value is not None
    }
    study = read_study(study_file, settings_of(options.pop("settings")) | overrides)
    if out is None and options["resume"]:
        raise RunError("--resume needs --out, the folder of the run to go on with")
    chosen = Options(
        out=out or free_folder(Path("runs"), study.name),
        data=data,
        jobs=jobs or usable_processors(),
        cache=cache or default_cache(),
        **options,
    )
    console = Console()
    with Progress(console) as progress:
        folder = run(study, chosen, progress)
    show_results(folder, console)


@click.command()
@click.argument("run_folder", metavar="RUN_DIR", type=_PATH)
@click.option("--data", type=_PATH, required=True, help="Folder that holds one data folder per site.")
@click.option("--split", type=click.Choice(["train", "val", "test", "all"]), default="test", show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def evaluate(run_folder: Path, data: Path, split: str, device: str, as_json: bool) -> None:
    """Score the finished models of RUN_DIR on other cases of its sites.

    With folds, every fold's model is scored and the scores are averaged. Sites are found by name below --data. Cases
    that the run had in train or val tell nothing here: with folds, all models but one were trained on each of them.

    Example: fedsurg evaluate runs/real --data /data/more-cases --split all
    """
    from rich.console import Console

    from simulations.evaluation import evaluate_run, print_scores

    print_scores(evaluate_run(run_folder, data, split, device), Console(), as_json=as_json)


def default_cache() -> Path:
    """Where rendered video and starts are kept."""
    return Path(os.environ.get("FEDSURG_CACHE") or "~/.cache/fedsurg").expanduser()


def show_results(folder: Path, console: Any) -> None:
    """Write the report and event files of a run, print its table and where the report is."""
    from fedsurg.report.html import write_report
    from fedsurg.report.tensorboard import write_events
    from fedsurg.report.terminal import print_summary

    report = write_report(folder)
    write_events(folder)
    print_summary(folder, console)
    console.print(f"report: {report}", highlight=False, markup=False, soft_wrap=True)


def settings_of(words: tuple[str, ...]) -> dict[str, Any]:
    """The words of --set: `task.image_size=[192, 240]` as key and value; a value is written as in the study file."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        try:
            found[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError as problem:
            raise StudyError(f"--set {word!r}: is not KEY=VALUE with a TOML value ({problem}); quote text") from problem
        if not (key.strip() and equals):
            raise StudyError(f"--set {word!r}: is not KEY=VALUE; name a key of the study, as in federation.rounds=3")
    return found


def read_study(file: Path | None, overrides: dict[str, Any]) -> Study:
    """A study file, or the built-in demo."""
    from fedsurg.study_file.load import load_study, parse_study

    if file is not None:
        return load_study(file, overrides=overrides)
    text = resources.files("studies").joinpath("demo.toml").read_text(encoding="utf-8")
    return parse_study(text, "the built-in demo", overrides=overrides)

"""`fedsurg evaluate`: the finished models of a run on cases that the run did not have."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from fedsurg.data.site import load_site
from fedsurg.errors import RunError
from fedsurg.methods.registry import METHODS
from fedsurg.metrics.summary import site_means
from fedsurg.report.terminal import print_table
from fedsurg.study.config import Study
from fedsurg.study_file.holdout import Holdout, left_out_name
from fedsurg.study_file.load import parse_values
from simulations.bench import Bench
from simulations.done import finished
from simulations.job import Job
from simulations.run_folder import RECORD
from simulations.scores import models_for
from simulations.scoring import score_site, with_only


def evaluate_run(run_folder: Path, data: Path, split: str, device: str) -> pd.DataFrame:
    """Score all methods and folds of a run on `split` of the sites found below `data`.

    Returns:
        One row per method, site and model: method, site, model, cases, frames and the mean of each metric; with folds,
        the scores of every fold's model are pooled before averaging.

    Raises:
        RunError: the run is not finished or has a method that this version has not, none of its sites lies below
            `data`, or one has no such split.
        StudyError: this version does not know the run's study.
        DataError: a site's data is inconsistent.
    """
    study = _study(run_folder)
    rows: list[dict[str, Any]] = []
    for bench in _benches(run_folder, study, device):
        left_out = Holdout.of_name(bench.job.name)[1].site
        for site in bench.study.sites:
            folder = data / (site.folder or site.name)
            if not folder.is_dir():
                continue
            cases = with_only(load_site(folder, study.task), split)
            if cases is None:
                raise RunError(f"{folder}: has no frames in split {split!r}; choose --split all or another one")
            for model in models_for(bench, site):
                scored = score_site(bench.plan, cases, model, bench.device)
                name = left_out_name(site.name) if site.name == left_out else site.name
                rows += [{"method": bench.job.method, "site": name, "model": model.name} | r for r in scored.rows]
    if not rows:
        raise RunError(f"{data}: holds no folder of a site of this run ({', '.join(s.name for s in study.sites)})")
    scores = pd.DataFrame(rows)
    means = [
        site_means(part).assign(method=str(method), model=str(model))
        for (method, model), part in scores.groupby(["method", "model"], sort=False)
    ]
    table = pd.concat(means).sort_values(["method", "site"], kind="stable", ignore_index=True)
    first = ["method", "site", "model"]
    return table[[*first, *(column for column in table.columns if column not in first)]]


def print_scores(table: pd.DataFrame, console: Console, *, as_json: bool) -> None:
    """The table for people, or as JSON rows."""
    if as_json:
        console.print_json(json.dumps(json.loads(table.to_json(orient="records"))))
        return
    shown = Table(box=None, pad_edge=False)
    for column in table.columns:
        shown.add_column(
            str(column), justify="left" if column in ("method", "site", "model") else "right", no_wrap=True
        )
    for row in table.itertuples(index=False):
        shown.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row))
    print_table(shown, console)


def _study(run_folder: Path) -> Study:
    try:
        values = dict(json.loads((run_folder / RECORD).read_text())["study"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(f"{run_folder}: is no run folder ({problem}); give the --out of a finished run") from problem
    return parse_values(values, str(run_folder / RECORD), {})


def _benches(run_folder: Path, study: Study, device: str) -> list[Bench]:
    folders = sorted(path.parent for path in (run_folder / "runs").glob("*/done.json"))
    if not folders:
        raise RunError(f"{run_folder}: no method has finished there; go on with fedsurg simulate --resume")
    benches = []
    for folder in folders:
        method, holdout = Holdout.of_name(folder.name)
        if method not in METHODS:
            raise RunError(
                f"{folder}: this version has no method {method!r}; move the folder away, or use the version "
                "that made the run"
            )
        start = Path(finished(folder)["start"])
        job = Job(
            holdout.study(study), method, holdout.fold, folder, {}, None, start, device, title=f"{method}{holdout}"
        )
        benches.append(Bench(job))
    return benches

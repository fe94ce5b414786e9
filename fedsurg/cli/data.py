"""The commands `fedsurg data ...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from fedsurg.data.check import SiteReport
    from fedsurg.study.config import TaskConfig

SHOWN = 50  # problems on the screen; a folder that was moved has one per file


@click.group()
def data() -> None:
    """Look at site data."""


@data.command()
@click.argument("site_dir", type=click.Path(path_type=Path))
@click.option("--study", type=click.Path(path_type=Path), help="Check the labels against this study's classes.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(site_dir: Path, study: Path | None, as_json: bool) -> None:
    """Read every file of SITE_DIR and list what is wrong; exit code 3 if anything is."""
    report = _check_with_progress(site_dir, _task_of(study))
    if as_json:
        import json

        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        _print(report)
    if not report.ok:
        from fedsurg.errors import DataError

        raise SystemExit(DataError.exit_code)


def _task_of(study: Path | None) -> TaskConfig | None:
    if study is None:
        return None
    from fedsurg.study_file.load import load_study

    return load_study(study, with_files=False).task


def _check_with_progress(site_dir: Path, task: TaskConfig | None) -> SiteReport:
    """The report; a bar on standard error while it is made, if a person is looking."""
    from rich.console import Console
    from rich.progress import Progress

    from fedsurg.data.check import check_site

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("reading frames", total=None)
        return check_site(
            site_dir, task, on_frame=lambda done, total: progress.update(bar, completed=done, total=total)
        )


def _print(report: SiteReport) -> None:
    from rich.console import Console

    console = Console()
    if report.name:
        click.echo(f"{report.name}: {report.procedure}")
    if report.missing:
        click.echo(f"never labelled: {', '.join(report.missing)}")
    if report.splits:
        console.print(_table(report))
    # click.echo, as rich would break long lines: one problem is one line.
    for problem in report.problems[:SHOWN]:
        click.echo(f"problem: {problem}")
    if len(report.problems) > SHOWN:
        click.echo(f"... and {len(report.problems) - SHOWN} more; --json lists all")
    for warning in report.warnings[:SHOWN]:
        click.echo(f"warning: {warning}")
    click.echo("ok" if report.ok else f"{len(report.problems)} to mend")


def _table(report: SiteReport) -> Table:
    """Counts, and the share of labelled pixels, by split."""
    from rich.markup import escape
    from rich.table import Table

    labels = map(escape, report.labels)
    table = Table("split", "cases", "clips", "frames", *labels, "not labelled", box=None, pad_edge=False)
    for name, split in report.splits.items():
        shares = [f"{100 * split.shares[label]:.2f} %" if label in split.shares else "-" for label in report.labels]
        counts = (str(split.cases), str(split.clips), str(split.frames))
        table.add_row(name, *counts, *shares, f"{100 * split.unlabelled:.2f} %")
    return table

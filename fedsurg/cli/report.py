"""`fedsurg report RUN_DIR`: the HTML reports, the TensorBoard events and the closing table."""

import json
from pathlib import Path

import click


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the tables and file names as JSON instead of text.")
def report(run_dir: Path, as_json: bool) -> None:
    """Write the reports of RUN_DIR, a finished or half-finished run.

    report.html is for those who hold the data; report-shareable.html holds no case names, no paths and no
    frames of real patients. Both are single files that fetch nothing. tensorboard/ holds the curves.
    """
    from rich.console import Console

    from fedsurg.report.html import SHAREABLE, write_report
    from fedsurg.report.tensorboard import write_events
    from fedsurg.report.terminal import print_summary

    full = write_report(run_dir)
    files = {"report": full, "shareable": run_dir / SHAREABLE, "tensorboard": write_events(run_dir)}
    if as_json:
        click.echo(json.dumps(_as_json(run_dir) | {name: str(file) for name, file in files.items()}, indent=2))
        return
    console = Console()
    print_summary(run_dir, console)
    for name, file in files.items():
        console.print(f"{name:12} {file}", highlight=False, markup=False, soft_wrap=True)


def _as_json(run_dir: Path) -> dict[str, object]:
    """The tables as plain records; NaN becomes null."""
    from fedsurg.report.run_folder import Run
    from fedsurg.report.story import paragraph
    from fedsurg.report.tables import method_table, site_table

    run = Run.read(run_dir)
    tables = {"methods": method_table(run), "sites": site_table(run)}
    records = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
    return {"study": run.info.study.name, "digest": run.info.digest, "summary": paragraph(run)} | records

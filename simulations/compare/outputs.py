"""The files that a comparison leaves behind: tables, figures and a page."""

import io
from pathlib import Path

from pandas import DataFrame

from fedsurg.files import write_atomic
from simulations.compare.collect import collect
from simulations.compare.page import write_page
from simulations.compare.plan import Plan
from simulations.compare.record import CELLS, Record
from simulations.compare.summary import Summary, summarise

PAGE = "compare.html"
FIGURES = {"methods": "figure", "ablations": "figure-ablations"}


def write_outputs(plan: Plan, record: Record, folder: Path) -> Summary:
    """Read the finished cells below `folder` and write scores, summary, figures and page into it.

    Raises:
        RunError: no cell is finished, a file is damaged, or the outputs cannot be written.
    """
    from simulations.compare import figure

    collected = collect(plan, folder / CELLS)
    summary = summarise(plan, collected)
    for name, table in (("scores", collected.scores), ("summary", summary.rows), ("sites", summary.sites)):
        _write_table(folder / name, table)
    for family in summary.references:
        png, svg = figure.standalone(summary, family)
        write_atomic(folder / f"{FIGURES[family]}.png", png)
        write_atomic(folder / f"{FIGURES[family]}.svg", svg)
    write_page(plan, record, summary, folder / PAGE)
    return summary


def _write_table(path: Path, table: DataFrame) -> None:
    """The same table twice: parquet keeps types, csv opens everywhere."""
    plain = table.assign(fold=table["fold"].astype("Int64")) if "fold" in table else table
    binary = io.BytesIO()
    plain.to_parquet(binary, index=False)
    write_atomic(path.with_suffix(".parquet"), binary.getvalue())
    write_atomic(path.with_suffix(".csv"), plain.to_csv(index=False))

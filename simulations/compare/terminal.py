"""The closing tables of a comparison in the terminal."""

from math import isnan
from typing import Any

from pandas import Series
from rich.console import Console
from rich.table import Table

from fedsurg.report.terminal import plain_table, print_table
from fedsurg.report.wording import DASH, duration, interval, method_name, percent, points, size
from simulations.compare.summary import Summary

TITLES = {"methods": "IoU in % on held-out cases, 95 % intervals over cases", "ablations": "Controls: IoU in %"}


def print_comparison(summary: Summary, console: Console) -> None:
    """Print one table per family."""
    console.print()
    for family, reference in summary.references.items():
        print_table(_table(summary, family, reference), console)


def _table(summary: Summary, family: str, reference: str) -> Table:
    table = plain_table(TITLES[family])
    table.add_column("", no_wrap=True)
    against = f"against\n{method_name(reference)}"
    for name in ("federated", "worst\nsite", "unseen", f"federated {against}", f"unseen {against}", "one site\nsends"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("one\nround", justify="right", no_wrap=True)
    rows = summary.of(family)
    for _, row in rows.iterrows():
        table.add_row(
            method_name(str(row["variant"])) + ("" if row["complete"] else f"\n{row['gap']}"),
            _score(row, "federated"),
            percent(float(row["worst"])),
            _score(row, "unseen"),
            _difference(row, "federated"),
            _difference(row, "unseen"),
            size(float(row["bytes_sent"])),
            duration(float(row["seconds_per_round"])),
            style="bold" if row["variant"] == reference else "",
        )
    return table


def _score(row: "Series[Any]", name: str) -> str:
    value, low, high = (float(str(row[key])) for key in (name, f"{name}_low", f"{name}_high"))
    ends = interval(low, high)
    return f"{percent(value)} ({ends})" if ends else percent(value)


def _difference(row: "Series[Any]", role: str) -> str:
    value, p = float(str(row[f"{role}_difference"])), float(str(row[f"{role}_p_holm"]))
    if isnan(value):
        return DASH
    return points(value) if isnan(p) else f"{points(value)} {probability(p)}"


def probability(p: float) -> str:
    """`p < 0.001`, `p 0.03`."""
    return DASH if isnan(p) else "p < 0.001" if p < 0.001 else f"p {p:.2g}" if p < 0.1 else f"p {p:.2f}"

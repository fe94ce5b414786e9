"""The closing table of a run in the terminal: short, aligned, and plain text when it is piped."""

from pathlib import Path

from pandas import DataFrame
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fedsurg.report.run_folder import Run
from fedsurg.report.story import paragraph
from fedsurg.report.tables import UPPER_BOUND, method_table, site_table
from fedsurg.report.wording import DASH, method_name, percent, printed_best, size

WIDEST = 1000  # columns of a table in a file
MANY_SITES = 5  # more than these get a table of their own, sites downwards


def print_summary(run: Path, console: Console) -> None:
    """Print what the run in folder `run` showed.

    Raises:
        RunError: the folder is no run, or a file in it is damaged.
    """
    content = Run.read(run)
    methods, sites = method_table(content), site_table(content).query("headline")
    names = list(dict.fromkeys(sites.sort_values(["role", "site"])["site"]))
    console.print()
    if len(sites):
        inside = names if len(names) <= MANY_SITES else []
        print_table(_methods(methods, sites, inside), console)
        if not inside:
            print_table(_sites(sites, list(methods["method"]), names), console)
    console.print(Text(paragraph(content)), highlight=False)
    console.print()


def _methods(methods: DataFrame, sites: DataFrame, names: list[str]) -> Table:
    """Methods downwards: mean, each site, worst site, bytes."""
    table = plain_table("Held-out cases: Dice / IoU in %")
    table.add_column("method", no_wrap=True)
    unseen = set(sites.loc[sites["role"] == "unseen", "site"])
    for name in ("mean", *names):
        table.add_column(f"{name}\nunseen" if name in unseen else name, justify="right", no_wrap=True)
    table.add_column("worst site\nIoU", justify="right", no_wrap=True)
    table.add_column("one site sends\na round", justify="right", no_wrap=True)
    rivals = methods["iou"].where(methods["method"] != UPPER_BOUND)
    best = printed_best(rivals) & (rivals.notna().sum() > 1)
    for leads, (_, row) in zip(best, methods.iterrows(), strict=True):
        mine = sites[sites["method"] == row["method"]]
        cells = [_pair(float(row["dice"]), float(row["iou"])), *(_cell(mine, name) for name in names)]
        worst = f"{row['worst_site']} {percent(float(row['worst_iou']))}" if row["worst_site"] else DASH
        style = "bold" if leads else ""
        traffic = size(float(row["bytes_in"]))
        table.add_row(method_name(str(row["method"])), *cells, worst, traffic, style=style)
    return table


def _sites(sites: DataFrame, methods: list[str], names: list[str]) -> Table:
    """Sites downwards, one column per method."""
    table = plain_table("Per site: Dice / IoU in %")
    table.add_column("site", no_wrap=True)
    for method in methods:
        table.add_column(method_name(method), justify="right", no_wrap=True)
    roles = dict(zip(sites["site"], sites["role"], strict=True))
    for name in names:
        cells = [_cell(sites[sites["method"] == method], name) for method in methods]
        table.add_row(f"{name} (unseen)" if roles[name] == "unseen" else name, *cells)
    return table


def plain_table(title: str) -> Table:
    """A table as all of fedsurg's look."""
    return Table(
        title=title,
        title_justify="left",
        title_style="dim",
        box=box.SIMPLE_HEAD,
        header_style="cyan",
        pad_edge=False,
    )


def print_table(table: Table, console: Console) -> None:
    """Print at the table's own width when nobody watches, so that a log or a pipe gets every column whole."""
    if console.is_terminal:
        console.print(table)
        return
    wide = console.options.update(max_width=WIDEST)
    width = Measurement.get(console, wide, table).maximum
    for line in console.render_lines(table, console.options.update(width=width), pad=False):
        console.file.write("".join(segment.text for segment in line).rstrip() + "\n")


def _cell(sites: DataFrame, name: str) -> str:
    found = sites[sites["site"] == name]
    return _pair(float(found["dice"].iloc[0]), float(found["iou"].iloc[0])) if len(found) else DASH


def _pair(dice: float, iou: float) -> str:
    return f"{percent(dice)} / {percent(iou)}"

"""Charts as inline SVG that takes its colours from the page, so they follow light, dark and print.

matplotlib draws with placeholder colours; `for_page` replaces each by a CSS variable of `template.html.j2`.
Letters stay text. Nothing in the result points anywhere outside the page.
"""

import io
import re
import textwrap
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

PALETTE = 8  # colours --m0 to --m7 of the page; the ninth method begins again, hollow and dashed
INK, FAINT = "#fd0001", "#fd0002"  # placeholders of --ink-2 and --rule
_COLOURS = {INK: "var(--ink-2)", FAINT: "var(--rule)"} | {
    f"#fe01{index:02x}": f"var(--m{index})" for index in range(PALETTE)
}
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)))
_NAME_WIDTH = 26  # characters of a site's name in a line
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<")
STYLE = {  # of a chart inside a page
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
WIDTH = 9.0  # inches; the page scales it to its column


def site_intervals(sites: DataFrame, methods: Sequence[str], measure: str = "iou") -> str:
    """Bars with 95 % intervals, methods within sites; `sites` is the headline part of `tables.site_table`."""
    names = list(dict.fromkeys(sites.sort_values(["role", "site"])["site"]))
    if not names:
        return ""

    def draw(axes: Sequence[Axes]) -> None:
        for place, name in enumerate(names):
            present = [method for method in methods if len(_row(sites, method, name))]
            for position, method in enumerate(present):
                level = place * (len(methods) + 1.4) + position
                _bar(axes[0], _row(sites, method, name), measure, level, methods.index(method))
        middles = [place * (len(methods) + 1.4) + (len(methods) - 1) / 2 for place in range(len(names))]
        unseen = set(sites.loc[sites["role"] == "unseen", "site"])
        axes[0].set_yticks(middles, [_wrapped(name) + "\n(unseen)" * (name in unseen) for name in names])
        axes[0].invert_yaxis()
        axes[0].set_xlim(0, 100)
        axes[0].grid(visible=False, axis="y")
        axes[0].spines["left"].set_visible(False)

    height = 0.5 + 0.17 * len(names) * (len(methods) + 1.4)
    return _svg(f"{measure} of each method at each site with 95 % intervals", draw, 1, height, columns=1)


def validation_curves(rounds: DataFrame, methods: Sequence[str], measure: str = "iou") -> str:
    """One panel per site, one line per method: the trained model on validation cases, mean over folds."""
    known = rounds.dropna(subset=[measure])
    names = sorted(set(known["site"]))
    if not names:
        return ""

    def draw(axes: Sequence[Axes]) -> None:
        for name, panel in zip(names, axes, strict=False):
            panel.set_title(_wrapped(name))
            _lines(panel, known[known["site"] == name], measure, methods, scale=100)
            panel.set_ylim(0, 100)

    return _panels("validation IoU per round at each site", draw, len(names))


def loss_curves(rounds: DataFrame, server: DataFrame, methods: Sequence[str]) -> str:
    """Training loss (mean over sites) and every value that the server's own training reported."""
    measured = [name for name in server.columns if name not in ("method", "fold", "round")]
    panels = [("training loss, mean over sites", rounds, "train_loss")]
    panels += [(name.replace("_", " ").replace("serq", "SERQ"), server, name) for name in measured]
    panels = [panel for panel in panels if len(panel[1]) and panel[1][panel[2]].notna().any()]
    if not panels:
        return ""

    def draw(axes: Sequence[Axes]) -> None:
        for (title, table, name), panel in zip(panels, axes, strict=False):
            panel.set_title(title)
            _lines(panel, table.dropna(subset=[name]), name, methods, scale=1)
            panel.set_ylim(min(0.0, float(table[name].min())), 1.08 * max(0.0, float(table[name].max())) or None)

    return _panels("training loss and server losses per round", draw, len(panels))


def _row(sites: DataFrame, method: str, site: str) -> DataFrame:
    return sites[(sites["method"] == method) & (sites["site"] == site)]


def _bar(axes: Axes, row: DataFrame, measure: str, level: float, index: int) -> None:
    value, low, high = (100 * float(row[name].iloc[0]) for name in (measure, f"{measure}_low", f"{measure}_high"))
    colour = _colour(index)
    axes.barh(level, value, height=0.78, color=colour, alpha=0.22, linewidth=0)
    axes.plot([low, high], [level, level], color=colour, linewidth=1.6, solid_capstyle="round")
    axes.plot(value, level, _MARKERS[index % len(_MARKERS)], color=colour, markersize=3.6, **_filling(index))


def _lines(axes: Axes, table: DataFrame, measure: str, methods: Sequence[str], scale: float) -> None:
    """The mean over folds (and sites) of one measure, a line per method."""
    for index, method in enumerate(methods):
        means = table[table["method"] == method].groupby("round")[measure].mean() * scale
        if len(means):
            marker = _MARKERS[index % len(_MARKERS)] if len(means) == 1 else ""
            dash = _DASHES[index // PALETTE % len(_DASHES)]
            axes.plot(
                means.index,
                means,
                color=_colour(index),
                linewidth=1.5,
                linestyle=dash,
                marker=marker,
                **_filling(index),
            )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _filling(index: int) -> dict[str, Any]:
    """Of the marker of a method, which the page's legend has too: hollow where its colour is another one's as well."""
    return {"markeredgewidth": 0} if index < PALETTE else {"markeredgewidth": 1, "markerfacecolor": "none"}


def _wrapped(name: str) -> str:
    """A site's name in lines that fit above a panel."""
    return "\n".join(textwrap.wrap(name, _NAME_WIDTH))


def _colour(index: int) -> str:
    return f"#fe01{index % PALETTE:02x}"


def _panels(title: str, draw: Callable[[Sequence[Axes]], None], count: int) -> str:
    columns = 4 if count == 4 else min(count, 3)
    lines = -(-count // columns)
    return _svg(title, draw, count, 0.2 + 1.95 * lines, columns)


def _svg(title: str, draw: Callable[[Sequence[Axes]], None], count: int, height: float, columns: int) -> str:
    """Lay out `count` axes, draw into them, and return an <svg> element for a page."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": title}):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH if columns > 1 or count == 1 else WIDTH / 2, height), layout="constrained")
        lines = -(-count // columns)
        axes = [figure.add_subplot(lines, columns, place + 1) for place in range(count)]
        draw(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return for_page(file.getvalue(), title)


def for_page(svg: str, title: str) -> str:
    """Cut away what only a file of its own needs, and put the page's colours in."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| version="[^"]*"', "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # "axes_1" and the like would repeat from chart to chart
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"|(<svg[^>]*?) height="[^"]*"', r"\1\2", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for placeholder, colour in _COLOURS.items():
        svg = svg.replace(placeholder, colour)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)

"""The figure of a comparison: a dot per variant with its interval, federated sites beside unseen ones."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

from fedsurg.report.figures import FAINT, INK, STYLE, WIDTH, for_page
from fedsurg.report.wording import method_name, percent
from simulations.compare.summary import Summary

PANELS = {"federated": "Federated sites: mean IoU in %", "unseen": "{unseen}: IoU in %"}
NOT_FEDERATED = frozenset({"start", "local", "central"})  # drawn hollow
LEGEND = "dot: mean over sites    bar: 95 % interval over cases    tick: one site    hollow: not federated"
PNG_DPI = 200


@dataclass(frozen=True)
class Palette:
    """Colours: of text, of lines and grid, of the reference, of the others, of the ground."""

    ink: str
    faint: str
    accent: str
    other: str
    paper: str


PRINT = Palette("#55605c", "#dfe3df", "#0b7a6f", "#4c5a75", "#ffffff")
PAGE = Palette(INK, FAINT, "#fe0100", "#fd0001", "none")  # placeholders, which the page replaces by its own colours


def standalone(summary: Summary, family: str) -> tuple[bytes, bytes]:
    """PNG and SVG files of one table, on white."""
    files = []
    for kind in ("png", "svg"):
        file = io.BytesIO()
        with matplotlib.rc_context(_style(PRINT) | {"svg.fonttype": "path", "svg.hashsalt": family}):
            metadata = {"Date": None} if kind == "svg" else {"Software": None}
            figure = _figure(summary, family, PRINT)
            figure.supxlabel(LEGEND, fontsize=7, color=PRINT.ink)
            figure.savefig(file, format=kind, dpi=PNG_DPI, metadata=metadata)
        files.append(file.getvalue())
    return files[0], files[1]


def inline(summary: Summary, family: str) -> str:
    """An <svg> element that takes its colours from the page."""
    file = io.StringIO()
    with matplotlib.rc_context(_style(PAGE) | {"svg.hashsalt": family}):
        _figure(summary, family, PAGE).savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return for_page(file.getvalue(), "IoU of each variant with its 95 % interval")


def _style(palette: Palette) -> dict[Any, Any]:
    """The style of all charts in these colours."""
    swap = {INK: palette.ink, FAINT: palette.faint}
    return {key: swap.get(str(value), value) for key, value in STYLE.items()}


def _figure(summary: Summary, family: str, palette: Palette) -> Figure:
    rows = summary.of(family).sort_values("federated", ascending=True, na_position="first", kind="stable")
    roles = [role for role in PANELS if rows[role].notna().any()] or ["federated"]
    figure = Figure(figsize=(WIDTH, 0.8 + 0.25 * len(rows)), layout="constrained", facecolor=palette.paper)
    shared: Axes | None = None
    for place, role in enumerate(roles):
        axes = figure.add_subplot(1, len(roles), place + 1, sharey=shared)
        shared = shared or axes
        _panel(axes, rows, role, summary, family, palette)
        axes.tick_params(labelleft=not place)
    return figure


def _panel(axes: Axes, rows: DataFrame, role: str, summary: Summary, family: str, palette: Palette) -> None:
    """Variants downwards, the best on top; small ticks are the sites, the line is the reference."""
    reference = summary.references[family]
    sites = summary.sites[(summary.sites["family"] == family) & (summary.sites["role"] == role)]
    axes.set_title(_title(role, sites), pad=10)
    for level, (_, row) in enumerate(rows.iterrows()):
        mine = str(row["variant"]) == reference
        values = [100 * float(row[name]) for name in (role, f"{role}_low", f"{role}_high")]
        colour = palette.accent if mine else palette.other
        if mine:
            axes.axhspan(level - 0.5, level + 0.5, color=palette.accent, alpha=0.08, linewidth=0, zorder=0)
            axes.axvline(values[0], color=palette.accent, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.7, zorder=1)
        means = 100 * sites.loc[sites["variant"] == row["variant"], "iou"].to_numpy(dtype=float)
        if len(means) > 1:
            axes.plot(means, [level] * len(means), "|", color=colour, markersize=7, markeredgewidth=0.9, alpha=0.7)
        _dot(axes, values, level, colour, hollow=str(row["method"]) in NOT_FEDERATED, palette=palette)
    axes.set_yticks(range(len(rows)), [method_name(str(name)) for name in rows["variant"]])
    for label, name in zip(axes.get_yticklabels(), rows["variant"], strict=True):
        label.set_fontweight("bold" if name == reference else "normal")
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    _numbers(axes, rows, role, reference, palette)


def _dot(axes: Axes, values: Sequence[float], level: int, colour: str, *, hollow: bool, palette: Palette) -> None:
    value, low, high = values
    if isnan(value):
        return
    if not isnan(low):
        axes.plot([low, high], [level, level], color=colour, linewidth=1.8, solid_capstyle="round", zorder=3)
    face = (palette.paper if palette.paper != "none" else palette.faint) if hollow else colour
    axes.add_line(
        Line2D([value], [level], marker="o", markersize=5.8, color=colour, markerfacecolor=face, linestyle="", zorder=4)
    )


def _numbers(axes: Axes, rows: DataFrame, role: str, reference: str, palette: Palette) -> None:
    """The values once more, as figures at the right rim."""
    for level, (_, row) in enumerate(rows.iterrows()):
        bold = row["variant"] == reference
        axes.annotate(
            percent(float(row[role])),
            (1.0, level),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=palette.accent if bold else palette.ink,
            fontweight="bold" if bold else "normal",
            annotation_clip=False,
        )


def _title(role: str, sites: DataFrame) -> str:
    names = sorted(set(sites["site"].astype(str)))
    unseen = f"Unseen site {names[0]}" if len(names) == 1 else f"Unseen sites, mean over {len(names)}"
    return PANELS[role].format(unseen=unseen)

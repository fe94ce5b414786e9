"""Two HTML files of one run, each complete in itself: no script, nothing fetched.

`report.html` shows everything, frames and case names included. `report-shareable.html` is drawn by the same
template from a redacted run. A content security policy in both forbids the browser to load anything.
"""

import base64
import io
from math import isnan
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pandas import DataFrame
from PIL import Image, UnidentifiedImageError

from fedsurg.data.outlines import label_colour
from fedsurg.errors import RunError
from fedsurg.files import write_atomic
from fedsurg.report import figures, wording
from fedsurg.report.records import Overlay
from fedsurg.report.redaction import redacted
from fedsurg.report.run_folder import MethodRun, Run
from fedsurg.report.story import paragraph
from fedsurg.report.tables import UPPER_BOUND, contract_table, method_table, round_table, server_table, site_table
from fedsurg.study_file.holdout import Holdout

FULL = "report.html"
SHAREABLE = "report-shareable.html"
MAX_FRAMES_PER_SITE = 6  # a page of pictures stays below some megabytes; the rest is in overlays/
JPEG_QUALITY = 90
SCOPES = ("shared", "site", "frozen")

Context = dict[str, Any]


def write_report(run: Path) -> Path:
    """Write both reports into the run folder and return the full one's path.

    Raises:
        RunError: the folder is no run, a file in it is damaged or missing, or the reports cannot be written.
    """
    content = Run.read(run)
    shareable = redacted(content)
    charts = _charts(shareable)  # drawn once for both, from the run that holds nothing to hide
    write_atomic(run / FULL, _render(content, charts, shareable=False))
    write_atomic(run / SHAREABLE, _render(shareable, charts, shareable=True))
    return run / FULL


def _render(run: Run, charts: Context, *, shareable: bool) -> str:
    template = page_environment("fedsurg.report").get_template("template.html.j2")
    return template.render(charts | _context(run, shareable=shareable))


def page_environment(package: str) -> Environment:
    """Templates of `package`, with the style sheet and the ways to write numbers that all pages have in common."""
    pages = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("fedsurg.report", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ("percent", "interval", "points", "size", "duration", "plural", "method_name", "typeset")
    pages.filters |= {name: getattr(wording, name) for name in names}
    return pages


def _context(run: Run, *, shareable: bool) -> Context:
    sites = site_table(run)
    headline = sites.query("headline")
    overall = method_table(run)
    return {
        "run": run,
        "info": run.info,
        "shareable": shareable,
        "story": paragraph(run),
        "colours": {method: index % figures.PALETTE for index, method in enumerate(run.methods)},
        "hollow": set(run.methods[figures.PALETTE :]),
        "methods": _records(overall),
        "site_names": list(dict.fromkeys(headline.sort_values(["role", "site"])["site"])),
        "cells": {(row["method"], row["site"]): row for row in _records(headline)},
        "best": {measure: _best(headline, overall, measure) for measure in ("iou", "dice")},
        "upper_bound": UPPER_BOUND,
        "competing": len(overall) > 1 and int((overall["method"] != UPPER_BOUND).sum()) > 1,
        "details": _records(sites),
        "contracts": _contracts(run),
        "matrix": _matrix(run),
        "times": _times(run),
        "refusals": _refusals(run),
        "pictures": _pictures(run),
        "labels": [(name, label_colour(index)) for index, name in enumerate(run.info.study.task.classes) if index],
        "settings": flat_settings({key: value for key, value in run.info.settings.items() if key != "sites"}),
    }


def _charts(run: Run) -> Context:
    rounds = round_table(run)
    return {
        "intervals": Markup(figures.site_intervals(site_table(run).query("headline"), run.methods)),
        "curves": Markup(figures.validation_curves(rounds, run.methods)),
        "losses": Markup(figures.loss_curves(rounds, server_table(run), run.methods)),
    }


def _records(table: DataFrame) -> list[Context]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _best(sites: DataFrame, methods: DataFrame, measure: str) -> dict[str, str]:
    """The highest value of all that compete, by site, and under an empty name of the mean over sites.

    Values are as printed, in %, so that what looks equal is marked alike; sites where nobody has one are left out.
    """
    if not len(methods):
        return {}
    sites, methods = (table[table["method"] != UPPER_BOUND] for table in (sites, methods))
    best = {str(site): value for site, value in sites.groupby("site")[measure].max().items()}
    best[""] = methods[measure].max()
    return {site: wording.percent(float(value)) for site, value in best.items() if not isnan(value)}


def _contracts(run: Run) -> list[Context]:
    """Every contract once, with the methods that have it: folds always agree, and often several methods."""
    groups: dict[tuple[object, ...], list[MethodRun]] = {}
    for one in run.runs:
        groups.setdefault(tuple((tensor.name, tensor.scope, tensor.bytes) for tensor in one.contract), []).append(one)
    return [
        {
            "methods": list(dict.fromkeys(one.method for one in alike)),
            "parts": _records(contract_table(alike[0].contract)),
            "tensors": alike[0].contract,
        }
        for alike in groups.values()
        if alike[0].contract
    ]


def _matrix(run: Run) -> Context:
    """Parts against methods: scope and bytes, and the bytes of each scope together."""
    tables = {method: _records(contract_table(run.of(method)[0].contract)) for method in run.methods}
    parts = dict.fromkeys(str(row["part"]) for rows in tables.values() for row in rows)
    return {
        "methods": run.methods,
        "parts": {
            part: {method: [row for row in rows if row["part"] == part] for method, rows in tables.items()}
            for part in parts
        },
        "totals": {
            method: {scope: sum(int(row["bytes"]) for row in rows if row["scope"] == scope) for scope in SCOPES}
            for method, rows in tables.items()
        },
    }


def _times(run: Run) -> list[Context]:
    """Mean seconds of a round by step, per method that has trained; inside `sites`, the mean of one site by step."""
    rows = []
    for method in run.methods:
        rounds = [entry for one in run.of(method) for entry in one.rounds if entry.work == "train"]
        if not rounds:
            continue
        visits = [site.seconds for entry in rounds for site in entry.sites.values()]
        site = _means(visits)
        at_work = sum(seconds for step, seconds in site.items() if step != "data")  # the wait is part of training
        waiting = site.get("data", 0.0) / at_work if at_work else 0.0
        rows.append({"method": method, "round": _means([e.seconds for e in rounds]), "site": site, "waiting": waiting})
    return rows


def _means(parts: list[dict[str, float | None]]) -> dict[str, float]:
    return {str(name): float(value) for name, value in DataFrame(parts).astype(float).mean().items()}


def _refusals(run: Run) -> list[Context]:
    return [
        {"method": one.method, "holdout": one.holdout, "round": entry.round, "site": site, "why": why}
        for one in run.runs
        for entry in one.rounds
        for site, why in sorted(entry.refused.items())
    ]


def _pictures(run: Run) -> list[Context]:
    """Sites, in each the same frames by all methods and models side by side."""
    frames: dict[str, dict[tuple[Holdout, int], list[Context]]] = {}
    for one in run.runs:
        for picture in one.overlays:
            shown = frames.setdefault(picture.site, {}).setdefault((one.holdout, picture.position), [])
            shown.append({"method": one.method, "folder": one.folder, "picture": picture})
    roles = {site.name: site.role for site in run.info.study.sites} | dict.fromkeys(run.info.left_out, "unseen")
    return [
        {
            "site": site,
            "role": roles.get(site, "federated"),
            "left_out": max(0, len(files) - MAX_FRAMES_PER_SITE),
            "frames": [
                [shown | {"data": _embedded(shown["folder"], shown["picture"])} for shown in row]
                for row in list(files.values())[:MAX_FRAMES_PER_SITE]
            ],
        }
        for site, files in sorted(frames.items(), key=lambda item: (roles.get(item[0], ""), item[0]))
    ]


def _embedded(folder: Path, picture: Overlay) -> str:
    """The picture as a data URI; encoding it anew leaves no remarks of the original file in it."""
    file = folder / "overlays" / Path(picture.file).name
    try:
        image = Image.open(file).convert("RGB")
    except (OSError, UnidentifiedImageError) as problem:
        raise RunError(f"{file}: is listed in overlays.json, but cannot be read; draw the overlays again") from problem
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def flat_settings(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted key, text)."""
    if isinstance(value, dict):
        return [
            row for key, inner in value.items() for row in flat_settings(inner, f"{name}.{key}" if name else str(key))
        ]
    if isinstance(value, list | tuple):
        return [(name, ", ".join(str(item) for item in value))]
    return [(name, "" if value is None else str(value))]

"""One self-contained page of a comparison that may be shown to anyone: no paths, no cases, no frames."""

from math import isnan
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pandas import DataFrame

from fedsurg.files import write_atomic
from fedsurg.metrics.statistics import LEVEL
from fedsurg.report.html import flat_settings, page_environment
from fedsurg.report.redaction import MACHINE_KEYS, without_paths
from fedsurg.report.tables import BASELINE, UPPER_BOUND
from fedsurg.report.wording import interval, listed, method_name, percent, plural, points, printed_best, standing
from simulations.compare.plan import Plan
from simulations.compare.summary import Summary
from simulations.compare.terminal import probability

CHANCE = 1 - LEVEL
FEW_CASES = 10  # of a site: with fewer, resampling them gives too narrow an interval (benchmarks/interval_coverage.py)

Context = dict[str, Any]


def write_page(plan: Plan, record: Context, summary: Summary, path: Path) -> None:
    """Write the page.

    Raises:
        RunError: it cannot be written.
    """
    from simulations.compare import figure

    pages = page_environment("simulations.compare")
    pages.filters["probability"] = probability
    study = plan.study
    settings = {key: value for key, value in study.resolved().items() if key not in ("sites", "methods", "seed")}
    sites = summary.sites
    context = {
        "study": study,
        "record": _shareable(record),
        "trained": [_shareable(origin) for origin in record.get("trained", ())],
        "cells": summary.cells,
        "seeds": summary.seeds,
        "story": " ".join(story(summary)),
        "tables": [_table(plan, summary, family) for family in summary.references],
        "figures": {family: Markup(figure.inline(summary, family)) for family in summary.references},
        "has_unseen": bool((sites["role"] == "unseen").any()),
        "few": sorted({str(name) for name in sites.loc[sites["cases"] < FEW_CASES, "site"]}),
        "few_cases": FEW_CASES,
        "samples": study.evaluation.bootstrap,
        "settings": flat_settings(without_paths(settings)),
    }
    write_atomic(path, pages.get_template("compare.html.j2").render(context))


def _shareable(record: Context) -> Context:
    """A record that says of its machine only what anyone may know."""
    return record | {"machine": {key: value for key, value in record["machine"].items() if key in MACHINE_KEYS}}


def story(summary: Summary) -> list[str]:
    """What the table of methods shows, for a person who reads nothing else."""
    if "methods" not in summary.references:
        return ["FedST against itself without one of its pieces."]
    rows, reference = summary.of("methods"), summary.references["methods"]
    rivals = rows[(rows["method"] != UPPER_BOUND) & rows["complete"]].dropna(subset=["federated"])
    sentences = []
    if len(rivals):
        sentences.append(_best(rivals))
    mine = rows[(rows["variant"] == BASELINE) & rows["complete"]]
    if reference != BASELINE and len(mine):
        found = [text for role in ("federated", "unseen") if (text := _against(mine.iloc[0], role))]
        sentences += [f"Case by case, {method_name(reference)} is {' and '.join(found)}."] if found else []
    return [*sentences, *_tested(rows, reference)]


def _best(rivals: DataFrame) -> str:
    """Of all that are printed as the best, as a reader of the table sees them."""
    best = rivals[printed_best(rivals["federated"])]
    ends = interval(best["federated_low"].iloc[0], best["federated_high"].iloc[0]) if len(best) == 1 else ""
    names = listed([method_name(str(name)) for name in best["variant"]])
    return (
        f"{names} {'is' if len(best) == 1 else 'are'} best on the federated sites, with a mean IoU of "
        f"{percent(float(best['federated'].iloc[0]))} %"
        f"{f' ({ends})' if ends else ''} on held-out cases."
    )


def _tested(rows: DataFrame, reference: str) -> list[str]:
    """Which methods differ from the reference on the federated sites, and to which side."""
    tested = rows[rows["federated_p_holm"].notna() & rows["complete"]]
    if not len(tested):
        return []
    sure = tested[tested["federated_p_holm"] < CHANCE]
    sides = [
        f"{side} {listed([method_name(str(name)) for name in sure.loc[mine, 'variant']])}"
        for side, mine in (("above", sure["federated_difference"] < 0), ("below", sure["federated_difference"] > 0))
        if mine.any()
    ]
    return [
        f"Of {plural(len(tested), 'method')} held against {method_name(reference)} on the federated sites, it is "
        f"{' and '.join(sides) or 'neither above nor below any'} by more than chance makes likely (p below 0.05 after "
        "Holm's correction)."
    ]


def _against(row: Any, role: str) -> str:
    """How far the reference is above FedAvg; the table says it the other way round."""
    value, low, high = (-float(row[f"{role}_difference{end}"]) for end in ("", "_high", "_low"))
    if isnan(value):
        return ""
    place = "on the federated sites" if role == "federated" else "where a site took no part"
    ends = "" if isnan(low) else f" (95 % interval {points(low)} to {points(high)})"
    return f"{standing(value)} {method_name(BASELINE)} {place}{ends}"


def _table(plan: Plan, summary: Summary, family: str) -> Context:
    sites = summary.sites[summary.sites["family"] == family]
    meanings = {variant.name: variant.meaning for variant in plan.variants() if variant.family == family}
    rows = summary.of(family)
    competes = (rows["method"] != UPPER_BOUND) & rows["complete"]
    best = {role: printed_best(rows[role].where(competes)) for role in ("federated", "unseen")}
    dice = summary.of(family, "dice").set_index("variant")
    return {
        "family": family,
        "reference": summary.references[family],
        "rows": [
            {str(key): value for key, value in row.items()}
            | {
                "meaning": meanings[str(row["variant"])],
                "dice": dice.loc[row["variant"]].to_dict(),
                "best_in": [role for role in best if best[role][place]],
            }
            for place, row in zip(rows.index, rows.to_dict("records"), strict=True)
        ],
        "columns": _columns(sites),
        "cells": {(row["variant"], row["role"], row["site"]): row for row in sites.to_dict("records")},
        "uneven": not rows["complete"].all(),
    }


def _columns(sites: DataFrame) -> list[tuple[str, str]]:
    """Role and name of every site, the federated ones first; a site that was left out stands in both."""
    found = sites[["role", "site"]].drop_duplicates().sort_values(["role", "site"])
    return [(str(role), str(site)) for role, site in found.itertuples(index=False)]

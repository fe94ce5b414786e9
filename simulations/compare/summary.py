"""The summary of a comparison: one row per variant and measure, with intervals, tests and costs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import numpy as np
from pandas import DataFrame

from fedsurg.metrics.statistics import Estimate, Values, holm, over_sites, paired
from fedsurg.metrics.summary import LOWER_IS_BETTER, MEASURES, by_case
from fedsurg.report.wording import plural
from simulations.compare.collect import Collected, judged, over_cells
from simulations.compare.plan import Plan, Variant

ROLES = ("federated", "unseen")
_SCORED = ("family", "seed", "fold", "left_out", "role", "site", "case")  # one case in one cell


@dataclass(frozen=True, eq=False)
class Summary:
    """Tables of a comparison.

    `rows` has one row per family, variant and measure:
        `federated`, `unseen`: means over sites' means, with `_low` and `_high`; `worst`, `worst_site`, `spread` of the
        federated ones;
        `federated_seed_sd`, `unseen_seed_sd`: standard deviation of the mean over seeds;
        `ROLE_difference` (and `_low`, `_high`) to the family's reference, `ROLE_p`, `ROLE_p_holm`, `ROLE_pairs`;
        `bytes_sent`, `bytes_received` of one site in one round, `seconds_per_round`, `seconds` of a whole cell;
        `seeds`, `cells`, `cases`: what it rests on; `refused` replies; `gap`: what it lacks of the plan or of what
        others of its table have, in words; `complete`: it lacks nothing; `reference`: what it is held against.
    `sites` has one row per family, variant, role and site: the means over cases of all measures, `cases` and, for IoU,
    `iou_low` and `iou_high`.
    """

    rows: DataFrame
    sites: DataFrame
    references: dict[str, str]
    seeds: tuple[int, ...]  # of the finished cells
    cells: int  # that are finished

    def of(self, family: str, measure: str = "iou") -> DataFrame:
        """The rows of one table, in the order of the plan."""
        return self.rows[(self.rows["family"] == family) & (self.rows["measure"] == measure)]


def summarise(plan: Plan, collected: Collected) -> Summary:
    """Sum the finished cells up. Every interval and test is over cases, a case's cells averaged first."""
    scores = collected.scores.assign(fold=collected.scores["fold"].map(str))  # where there is none, all are alike
    by_cell = judged(scores)
    sources = {name: (source.family, source.name) for name, source in plan.sources().items()}
    planned = Counter((cell.variant.family, cell.variant.name) for cell in plan.cells())
    cases = over_cells(by_cell)
    references = {
        str(family): _reference(part, plan.reference if family == "methods" else "")
        for family, part in cases.groupby("family", sort=False)
    }
    rows = []
    for variant in plan.variants():
        part, reference = _of(cases, variant.family, variant.name), references.get(variant.family, "")
        if not len(part):  # none of its cells is finished
            continue
        facts = _facts(collected, variant.family, variant.name) | {"reference": reference}
        gap = _gap(variant, scores, facts, planned[sources[variant.family, variant.name]])
        mine, rival = (_of(by_cell, variant.family, name) for name in (variant.name, reference))
        both = _on_the_same(mine, rival)
        # A control that changes nothing reads the cells of the reference: there is nothing to test.
        same = sources[variant.family, variant.name] == sources[variant.family, reference] and not variant.model
        rows += [
            facts
            | {"measure": measure, "gap": gap, "complete": not gap}
            | _scores(plan, part, measure)
            | _seed_deviation(mine, measure)
            | _against(plan, both, measure, same=same)
            for measure in MEASURES
        ]
    table = DataFrame(rows)
    for role in ROLES:
        table[f"{role}_p_holm"] = table.groupby(["family", "measure"])[f"{role}_p"].transform(
            lambda column: holm(list(column))
        )
    held = scores[["family", "variant", "seed", "fold", "left_out"]].drop_duplicates()
    cells = {(sources[family, name], *cell) for family, name, *cell in held.itertuples(index=False)}
    seeds = tuple(sorted({int(seed) for seed in held["seed"]}))
    return Summary(table, _sites(plan, cases), references, seeds, len(cells))


def values_of(cases: DataFrame, role: str, measure: str) -> Values:
    """Site -> the values of its cases."""
    part = cases[cases["role"] == role].sort_values(["site", "case"])
    return {str(site): found[measure].to_numpy(dtype=float) for site, found in part.groupby("site")}


def _reference(cases: DataFrame, wanted: str) -> str:
    """The one that is wanted; where that is not there FedST, else the first variant."""
    names = list(dict.fromkeys(cases["variant"].astype(str)))
    return next((name for name in (wanted, "fedst") if name in names), names[0])


def _facts(collected: Collected, family: str, variant: str) -> dict[str, object]:
    """What a variant rests on and what it cost."""
    scores, costs = (_of(table, family, variant) for table in (collected.scores, collected.costs))
    means = ("bytes_sent", "bytes_received", "seconds_per_round", "seconds")
    return {
        "family": family,
        "variant": variant,
        "method": str(scores["method"].iloc[0]),
        "seeds": int(scores["seed"].nunique()),
        "cells": len(scores[["seed", "fold", "left_out"]].drop_duplicates()),
        "cases": len(scores[["site", "case"]].drop_duplicates()),
        "refused": int(costs["refused"].sum()) if len(costs) else 0,
    } | {name: float(costs[name].mean()) if len(costs) else nan for name in means}


def _gap(variant: Variant, scores: DataFrame, facts: Mapping[str, object], planned: int) -> str:
    """Missing cells of `planned` ones, else sites without scores where other rows have them, else refused replies."""
    if facts["cells"] != planned:
        return f"{facts['cells']} of {planned} cells"
    if lost := _lost(variant, scores):
        return f"lacks scores of {', '.join(lost)}"
    return f"{plural(refused, 'reply')} refused" if (refused := int(str(facts["refused"]))) else ""


def _lost(variant: Variant, scores: DataFrame) -> list[str]:
    """Sites that have scores in cells of other rows and not in the same one of this row."""
    held = scores[scores["family"] == variant.family]
    if variant.model:  # about one model at the unseen sites
        held = held[held["role"] == "unseen"]
    held = held[[*_SCORED, "variant"]].drop_duplicates()
    mine = held[held["variant"] == variant.name]
    both = held[list(_SCORED)].drop_duplicates().merge(mine, how="left", on=list(_SCORED))
    return sorted(set(both.loc[both["variant"].isna(), "site"].astype(str)))


def _on_the_same(mine: DataFrame, rival: DataFrame) -> tuple[DataFrame, DataFrame]:
    """Both, over the cases that they have scored in the same cells: what differs is then the variant alone."""
    keys = ["seed", "fold", "left_out", "role", "site", "case"]
    return over_cells(mine.merge(rival[keys], on=keys)), over_cells(rival.merge(mine[keys], on=keys))


def _scores(plan: Plan, cases: DataFrame, measure: str) -> dict[str, object]:
    """Means over federated and over unseen sites; of the federated ones the worst, and their standard deviation.

    No interval of these two: resampled cases make sites differ more than they do, so a bootstrap's is not about them.
    """
    row: dict[str, object] = {}
    for role in ROLES:
        values = values_of(cases, role, measure)
        row |= _ends(role, over_sites(values, plan.study.evaluation.bootstrap, plan.digest, measure, role))
    means = _site_means(values_of(cases, ROLES[0], measure))
    worst = (max if measure in LOWER_IS_BETTER else min)(means, key=lambda site: means[site], default="")
    spread = float(np.std(list(means.values()))) if means else nan
    return row | {"worst": means.get(worst, nan), "worst_site": worst, "spread": spread}


def _site_means(values: Values) -> dict[str, float]:
    return {
        site: float(np.mean(cases[~np.isnan(cases)])) for site, cases in values.items() if not np.isnan(cases).all()
    }


def _of(table: DataFrame, family: str, variant: str) -> DataFrame:
    return table[(table["family"] == family) & (table["variant"] == variant)]


def _seed_deviation(by_cell: DataFrame, measure: str) -> dict[str, object]:
    """How much the mean over sites changes with the seed: sample standard deviation, NaN with one seed."""
    sites = by_cell.groupby(["role", "seed", "site"])[measure].mean()
    seeds = sites.groupby(level=["role", "seed"]).mean().groupby(level="role").std()
    return {f"{role}_seed_sd": float(seeds.get(role, nan)) for role in ROLES}


def _against(plan: Plan, both: tuple[DataFrame, DataFrame], measure: str, *, same: bool) -> dict[str, object]:
    """The difference of the first to the second, the reference; none of the reference to itself."""
    row: dict[str, object] = {}
    for role in ROLES:
        if same:
            row |= _ends(f"{role}_difference", Estimate(nan, nan, nan)) | {f"{role}_p": nan, f"{role}_pairs": 0}
            continue
        first, second = (by_case(table[table["role"] == role], measure) for table in both)
        found = paired(first, second, plan.study.evaluation.bootstrap, plan.digest, measure, role)
        row |= _ends(f"{role}_difference", found.estimate) | {f"{role}_p": found.p, f"{role}_pairs": found.pairs}
    return row


def _sites(plan: Plan, cases: DataFrame) -> DataFrame:
    keys = ["family", "variant", "method", "role", "site"]
    groups = cases.groupby(keys, sort=False)
    table = groups[list(MEASURES)].mean().assign(cases=groups["iou"].count()).reset_index()
    samples = plan.study.evaluation.bootstrap
    ends = []
    for (_, _, _, role, site), part in groups:
        values = {str(site): part.sort_values("case")["iou"].to_numpy(dtype=float)}
        ends.append(over_sites(values, samples, plan.digest, "iou", role))
    return table.assign(iou_low=[one.low for one in ends], iou_high=[one.high for one in ends])


def _ends(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}

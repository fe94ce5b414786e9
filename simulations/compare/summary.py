"""The summary of a comparison: one row per variant and measure, with intervals, tests and costs."""

from dataclasses import dataclass
from math import nan

import numpy as np
from pandas import DataFrame

from fedsurg.metrics.statistics import Estimate, Values, highest, holm, lowest, mean, over_sites, paired, spread
from fedsurg.metrics.summary import LOWER_IS_BETTER, MEASURES, by_case
from simulations.compare.collect import Collected, judged, over_seeds
from simulations.compare.plan import Plan

ROLES = ("federated", "unseen")
_SCORED = ("family", "seed", "fold", "left_out", "role", "site", "case")  # one case in one cell


@dataclass(frozen=True, eq=False)
class Summary:
    """Tables of a comparison.

    `rows` has one row per family, variant and measure:
        `federated`, `worst`, `spread`, `unseen`: each with `_low` and `_high`, and `worst_site`; over sites' means;
        `federated_seed_sd`, `unseen_seed_sd`: standard deviation of the mean over seeds;
        `ROLE_difference` (and `_low`, `_high`) to the family's reference, `ROLE_p`, `ROLE_p_holm`, `ROLE_pairs`;
        `bytes_sent`, `bytes_received` of one site in one round, `seconds_per_round`, `seconds` of a whole cell;
        `seeds`, `cells`, `cases`: what it rests on; `gap`: what it lacks that others of its table have, in words;
        `complete`: it lacks nothing.
    `sites` has one row per family, variant, role and site: the means over cases of all measures, `cases` and, for IoU,
    `iou_low` and `iou_high`.
    """

    rows: DataFrame
    sites: DataFrame
    references: dict[str, str]

    def of(self, family: str, measure: str = "iou") -> DataFrame:
        """The rows of one table, in the order of the plan."""
        return self.rows[(self.rows["family"] == family) & (self.rows["measure"] == measure)]


def summarise(plan: Plan, collected: Collected) -> Summary:
    """Sum the finished cells up. Every interval and test is over cases, seeds averaged within a case first."""
    by_seed = judged(collected.scores)
    cases = over_seeds(by_seed)
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
        rival = _of(cases, variant.family, reference)
        rows += [
            facts
            | {"measure": measure}
            | _scores(plan, part, measure)
            | _seed_deviation(_of(by_seed, variant.family, variant.name), measure)
            | _against(plan, part, rival, measure, same=variant.name == reference)
            for measure in MEASURES
        ]
    table = DataFrame(rows)
    table["gap"] = _gaps(table, collected.scores)
    table["complete"] = table["gap"] == ""
    for role in ROLES:
        table[f"{role}_p_holm"] = table.groupby(["family", "measure"])[f"{role}_p"].transform(
            lambda column: holm(list(column))
        )
    return Summary(table, _sites(plan, cases), references)


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


def _gaps(table: DataFrame, scores: DataFrame) -> list[str]:
    """For each row, cells that are missing, else the sites that have no scores in cells where others have them."""
    held = scores.assign(fold=scores["fold"].astype(str))[[*_SCORED, "variant"]].drop_duplicates()
    most = table.groupby("family")["cells"].transform("max")
    lost = {key: _lost(held, *key) for key in set(zip(table["family"], table["variant"], strict=True))}
    return [
        f"{cells} of {all_cells} cells" if cells < all_cells else lost[family, variant]
        for family, variant, cells, all_cells in zip(
            table["family"], table["variant"], table["cells"], most, strict=True
        )
    ]


def _lost(held: DataFrame, family: str, variant: str) -> str:
    mine = held[(held["family"] == family) & (held["variant"] == variant)]
    others = held[(held["family"] == family) & held["role"].isin(set(mine["role"]))]
    both = others[list(_SCORED)].drop_duplicates().merge(mine, how="left", on=list(_SCORED))
    sites = sorted(set(both.loc[both["variant"].isna(), "site"].astype(str)))
    return f"lacks scores of {', '.join(sites)}" if sites else ""


def _scores(plan: Plan, cases: DataFrame, measure: str) -> dict[str, object]:
    """Mean, worst site and spread of the federated sites, and the mean of the unseen ones."""
    samples, seed = plan.study.evaluation.bootstrap, (plan.digest, measure)
    federated, unseen = (values_of(cases, role, measure) for role in ROLES)
    worst = highest if measure in LOWER_IS_BETTER else lowest
    found = {
        "federated": over_sites(federated, mean, samples, *seed, "federated"),
        "worst": over_sites(federated, worst, samples, *seed, "federated"),
        "spread": over_sites(federated, spread, samples, *seed, "federated"),
        "unseen": over_sites(unseen, mean, samples, *seed, "unseen"),
    }
    row = {key: value for name, estimate in found.items() for key, value in _ends(name, estimate).items()}
    means = {site: value for site, value in _site_means(federated).items() if value == found["worst"].value}
    return row | {"worst_site": next(iter(means), "")}


def _site_means(values: Values) -> dict[str, float]:
    return {
        site: float(np.mean(cases[~np.isnan(cases)])) for site, cases in values.items() if not np.isnan(cases).all()
    }


def _of(table: DataFrame, family: str, variant: str) -> DataFrame:
    return table[(table["family"] == family) & (table["variant"] == variant)]


def _seed_deviation(by_seed: DataFrame, measure: str) -> dict[str, object]:
    """How much the mean over sites changes with the seed: sample standard deviation, NaN with one seed."""
    sites = by_seed.groupby(["role", "seed", "site"])[measure].mean()
    seeds = sites.groupby(level=["role", "seed"]).mean().groupby(level="role").std()
    return {f"{role}_seed_sd": float(seeds.get(role, nan)) for role in ROLES}


def _against(plan: Plan, cases: DataFrame, rival: DataFrame, measure: str, *, same: bool) -> dict[str, object]:
    """The difference to the reference; none for the reference itself."""
    row: dict[str, object] = {}
    for role in ROLES:
        if same:
            row |= _ends(f"{role}_difference", Estimate(nan, nan, nan)) | {f"{role}_p": nan, f"{role}_pairs": 0}
            continue
        first, second = (by_case(table[table["role"] == role], measure) for table in (cases, rival))
        found = paired(first, second, plan.study.evaluation.bootstrap, plan.digest, measure, role)
        row |= _ends(f"{role}_difference", found.estimate) | {f"{role}_p": found.p, f"{role}_pairs": found.pairs}
    return row


def _sites(plan: Plan, cases: DataFrame) -> DataFrame:
    keys = ["family", "variant", "method", "role", "site"]
    groups = cases.groupby(keys, sort=False)
    table = groups[list(MEASURES)].mean().assign(cases=groups.size()).reset_index()
    samples = plan.study.evaluation.bootstrap
    ends = []
    for (_, _, _, role, site), part in groups:
        values = {str(site): part.sort_values("case")["iou"].to_numpy(dtype=float)}
        ends.append(over_sites(values, mean, samples, plan.digest, "iou", role))
    return table.assign(iou_low=[one.low for one in ends], iou_high=[one.high for one in ends])


def _ends(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}

"""The numbers of a run as pandas tables: per method and site, per method, per round, and what is shared."""

from functools import lru_cache

import pandas as pd
from pandas import DataFrame

from fedsurg.methods.registry import METHODS
from fedsurg.metrics.statistics import Values, over_sites, paired_differences
from fedsurg.metrics.summary import (
    GLOBAL,
    MEASURES,
    PERSONAL,
    by_case,
    case_means,
    federation_summary,
    mean_of_known,
    over_cases,
)
from fedsurg.report.records import Tensor
from fedsurg.report.run_folder import Run

SITE_COLUMNS = ("method", "site", "role", "model", "cases", "frames", *MEASURES)
INTERVALS = ("dice", "iou")
FIRST_CHOICE = {"federated": PERSONAL, "unseen": GLOBAL}  # the model that a site is judged by
BASELINE = "fedavg"  # that others are held against
UPPER_BOUND = "central"  # sees all data pooled: a ceiling, no competitor
EVERY_OTHER = "mean over the sites' own models"  # where nothing is shared, so that there is no global model


@lru_cache(maxsize=2)  # a run and its redacted copy
def site_table(run: Run) -> DataFrame:
    """One row per method, site and model, with 95 % intervals of Dice and IoU. Computed once per run.

    The intervals end at `dice_low`, `dice_high`, `iou_low` and `iou_high`. `headline` marks the model that
    the site is judged by: the personal one of a federated site, the global one of an unseen site, or the only
    one there is. Where every federated site's own model was scored on an unseen site, it is judged by their mean:
    no one knows beforehand which of them fits.
    """
    scores = run.scores
    rows = [
        _site_row(run, scores_of, (str(method), str(site), str(role), str(model)))
        for (method, site, role, model), scores_of in scores.groupby(["method", "site", "role", "model"])
    ]
    rows += [
        _site_row(run, scores_of.drop(columns="model"), (str(method), str(site), str(role), EVERY_OTHER))
        for (method, site, role), scores_of in scores.groupby(["method", "site", "role"])
        if scores_of["model"].nunique() > 1 and FIRST_CHOICE[str(role)] not in set(scores_of["model"])
    ]
    ends = [f"{measure}_{end}" for measure in INTERVALS for end in ("low", "high")]
    table = DataFrame(rows, columns=[*SITE_COLUMNS, *ends])
    order = {method: position for position, method in enumerate(run.methods)}
    table["headline"] = _headline(table)
    table = table.assign(position=table["method"].map(order)).sort_values(
        ["position", "role", "site", "headline"], ascending=[True, True, True, False]
    )
    return table.drop(columns="position").reset_index(drop=True)


def method_table(run: Run) -> DataFrame:
    """One row per method: scores over the federated sites, the unseen ones, traffic and time.

    `bytes_in` is what one site sends in one round, `bytes_out` what it receives; NaN before the first round.
    `seconds_per_round` is the mean over rounds and folds.
    """
    headline = site_table(run).query("headline")
    return DataFrame([_method_row(run, method, headline[headline["method"] == method]) for method in run.methods])


def round_table(run: Run) -> DataFrame:
    """One row per method, fold, round and site: scores of the model it was sent and of the one it trained."""
    rows = [
        {
            "method": one.method,
            "fold": one.holdout.fold or 0,
            "round": entry.round,
            "site": site,
            "iou": (result.trained or {}).get("iou"),
            "dice": (result.trained or {}).get("dice"),
            "received_iou": (result.received or {}).get("iou"),
            "received_dice": (result.received or {}).get("dice"),
            "train_loss": result.train_loss,
        }
        for one in run.runs
        for entry in one.rounds
        for site, result in entry.sites.items()
    ]
    measured = ["iou", "dice", "received_iou", "received_dice", "train_loss"]
    table = DataFrame(rows, columns=["method", "fold", "round", "site", *measured])
    return table.astype(dict.fromkeys(measured, float))


def server_table(run: Run) -> DataFrame:
    """One row per method, fold and round in which the server trained, with the values it reported."""
    rows = [
        {"method": one.method, "fold": one.holdout.fold or 0, "round": entry.round, **entry.server}
        for one in run.runs
        for entry in one.rounds
        if entry.server
    ]
    return DataFrame(rows, columns=None if rows else ["method", "fold", "round"])


def contract_table(contract: list[Tensor]) -> DataFrame:
    """The sharing contract by part and scope: tensors, parameters and bytes."""
    rows = [
        {"part": one.part, "scope": one.scope, "tensors": 1, "parameters": one.parameters, "bytes": one.bytes}
        for one in contract
    ]
    table = DataFrame(rows, columns=["part", "scope", "tensors", "parameters", "bytes"])
    return table.groupby(["part", "scope"], sort=False).sum().reset_index()


def differences(run: Run, first: str, second: str, measure: str = "iou") -> Values:
    """`first` minus `second` on the cases of the federated sites that both scored, by site."""
    chosen = site_table(run).query("headline and role == 'federated'")
    cases = [case_means(_select(run.scores, chosen[chosen["method"] == name])) for name in (first, second)]
    return paired_differences(by_case(cases[0], measure), by_case(cases[1], measure))


def _site_row(run: Run, scores: DataFrame, key: tuple[str, str, str, str]) -> dict[str, object]:
    row: dict[str, object] = dict(zip(("method", "site", "role", "model"), key, strict=True))
    cases = case_means(scores)
    means = over_cases(cases).iloc[0]
    row |= {name: means[name] for name in (*MEASURES, "cases", "frames")}
    for measure in INTERVALS:
        # The seed leaves the method out: two methods on the same cases are resampled alike.
        values = {key[1]: cases[measure].to_numpy()}
        found = over_sites(values, run.info.study.evaluation.bootstrap, run.info.digest, measure)
        row |= {f"{measure}_low": found.low, f"{measure}_high": found.high}
    return row


def _headline(table: DataFrame) -> "pd.Series[bool]":
    preferred = table["role"].map(FIRST_CHOICE) == table["model"]
    has_preferred = preferred.groupby([table["method"], table["site"]]).transform("any")
    last = ~table.duplicated(["method", "site"], keep="last")  # the mean, where there is one
    return preferred | (~has_preferred & last)


def _select(scores: DataFrame, sites: DataFrame) -> DataFrame:
    """Frame scores of the methods, sites and models listed in `sites`."""
    return scores.merge(sites[["method", "site", "role", "model"]], on=["method", "site", "role", "model"])


def _method_row(run: Run, method: str, sites: DataFrame) -> dict[str, object]:
    unseen = set(sites.loc[sites["role"] == "unseen", "site"])
    iou, dice = (federation_summary(sites, unseen, measure) for measure in ("iou", "dice"))
    trained = [[entry for entry in one.rounds if entry.work == "train"] for one in run.of(method)]
    rounds = [entry for one in trained for entry in one]
    known = METHODS.get(method)  # a run of another version may have other methods
    wire = [] if known and known.grouping == "pooled" else rounds  # whose one trainer has all data: nothing is sent
    return {
        "method": method,
        "dice": dice.mean,
        "iou": iou.mean,
        "worst_site": iou.worst_site,
        "worst_iou": iou.worst,
        "spread_iou": iou.spread,
        "unseen_dice": mean_of_known(list(dice.unseen.values())),
        "unseen_iou": mean_of_known(list(iou.unseen.values())),
        "rounds": min((len(one) for one in trained), default=0),
        "refused": sum(len(entry.refused) for one in run.of(method) for entry in one.rounds),
        "bytes_out": mean_of_known([entry.bytes_out for entry in wire]),
        "bytes_in": mean_of_known([entry.bytes_in for entry in wire]),
        "seconds_per_round": mean_of_known([sum(value or 0 for value in entry.seconds.values()) for entry in rounds]),
    }

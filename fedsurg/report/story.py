"""The run in one paragraph: the best method, its worst site, against FedAvg, the best at an unseen site, its price."""

from math import isnan
from typing import Any

from pandas import DataFrame, Series

from fedsurg.metrics.statistics import over_sites
from fedsurg.metrics.summary import ADAPTED, FINETUNED
from fedsurg.report.run_folder import Run
from fedsurg.report.tables import BASELINE, EVERY_OTHER, UPPER_BOUND, differences, method_table, site_table
from fedsurg.report.wording import interval, listed, method_name, percent, plural, points, printed_best, size, standing
from fedsurg.study_file.holdout import left_out_name

MANY_UNSEEN = 4  # sites; more than these are told of in one sentence


def paragraph(run: Run) -> str:
    """Plain sentences for a person who reads nothing else."""
    methods = method_table(run)
    sentences = _scored(run, methods) if len(run.scores) else _unscored(run, methods)
    return " ".join([*sentences, *_refusals(methods)])


def _unscored(run: Run, methods: DataFrame) -> list[str]:
    planned = run.info.study.federation.rounds
    if not len(methods):
        return ["No method has finished a round yet."]
    done = [f"{method_name(str(row['method']))} has done {row['rounds']}" for _, row in methods.iterrows()]
    return [
        f"This run is not finished: of {plural(planned, 'round')}, {listed(done)}.",
        "Nothing has been scored on the held-out cases yet.",
    ]


def _scored(run: Run, methods: DataFrame) -> list[str]:
    ranked = methods.dropna(subset=["iou"]).sort_values("iou", ascending=False)
    rivals = ranked[ranked["method"] != UPPER_BOUND]
    if not len(rivals):
        return ["Only the unseen sites have been scored so far."] if not len(ranked) else _ceiling(ranked)
    sentences = _best(rivals[printed_best(rivals["iou"])], alone=len(rivals) == 1)
    if sum(site.role == "federated" for site in run.info.study.sites) > 1:
        sentences += _worst_site(rivals[printed_best(rivals["iou"])])
    first = _contender(list(rivals["method"]))
    if first and BASELINE in set(rivals["method"]):
        sentences += _against_baseline(run, first)
    sentences += _unseen(run, methods)
    sentences += _ceiling(ranked)
    return [*sentences, _price(rivals.iloc[0]), *_unfinished(run, methods)]


def _best(best: DataFrame, *, alone: bool) -> list[str]:
    """Of all that are printed as the best, as a reader of the table sees them; one that is alone is best of nothing."""
    names, first = listed([method_name(str(method)) for method in best["method"]]), best.iloc[0]
    if len(best) > 1:
        return [f"{names} are best on the federated sites, with a mean IoU of {percent(first['iou'])} %."]
    has = "has on the federated sites" if alone else "is best on the federated sites, with"
    return [
        f"{names} {has} a mean IoU of {percent(first['iou'])} % and a mean Dice of {percent(first['dice'])} % on "
        "held-out cases."
    ]


def _contender(methods: list[str]) -> str:
    """The method to hold against FedAvg: FedST where it ran, else the best other one."""
    others = [method for method in methods if method != BASELINE]
    return "fedst" if "fedst" in others else (others or [""])[0]


def _worst_site(best: DataFrame) -> list[str]:
    """Of the best method, where one is."""
    first = best.iloc[0]
    if len(best) > 1 or isnan(first["worst_iou"]):
        return []
    return [
        f"Its worst site is {first['worst_site']} with {percent(first['worst_iou'])} %; "
        f"its sites spread by {percent(first['spread_iou'])} points (standard deviation)."
    ]


def _against_baseline(run: Run, first: str) -> list[str]:
    cases = differences(run, first, BASELINE)
    found = over_sites(cases, run.info.study.evaluation.bootstrap, run.info.digest, "iou", "federated")
    if isnan(found.value):
        return []
    where = standing(found.value, "points of IoU")
    text = f"Case by case, {method_name(first)} is {where} {method_name(BASELINE)} on the federated sites"
    if isnan(found.low):
        return [f"{text}; with one case at each site, chance cannot be told apart."]
    single = [site for site, values in cases.items() if len(values) < 2]  # adds no width
    narrow = f", too narrow with one case at {listed(single)}" if single else ""
    verdict = "" if found.low > 0 or found.high < 0 else ": a difference that chance alone could make"
    return [f"{text} (95 % interval {points(found.low)} to {points(found.high)}{narrow}){verdict}."]


def _unseen(run: Run, methods: DataFrame) -> list[str]:
    """One sentence for each unseen site: who does best there, beside FedAvg; then what adaptation brought.

    Where they are many, one sentence for all.
    """
    rows = site_table(run).query("role == 'unseen'").dropna(subset=["iou"])
    rivals = rows[rows["method"] != UPPER_BOUND]
    judged = rivals[rivals["headline"]]
    if judged["site"].nunique() > MANY_UNSEEN:
        means = methods[methods["method"] != UPPER_BOUND].dropna(subset=["unseen_iou"])
        means = means[["method", "unseen_iou"]].rename(columns={"unseen_iou": "iou"})
        return [f"At the {judged['site'].nunique()} sites that took no part, {_leaders(means)} in the mean."]
    where = {left_out_name(name): f"Where {name} was left out" for name in (s.name for s in run.info.study.sites)}
    return [
        f"{where.get(str(site), f'At {site}, which took no part')}, {_leaders(models[models['headline']])}."
        + _adapted(models[~models["headline"]])
        for site, models in rivals.groupby("site")
        if models["headline"].any()
    ]


def _leaders(judged: DataFrame) -> str:
    """Of all that are printed as the best, as a reader of the table sees them."""
    best = judged[printed_best(judged["iou"])]
    names = listed([method_name(method) for method in best["method"]])
    has = "has" if len(judged) == 1 else "is best with" if len(best) == 1 else "are best with"
    text = f"{names} {has} {percent(float(best['iou'].iloc[0]))} %"
    if "model" in best and len(best) == 1:
        text += f" as the {EVERY_OTHER}" if best["model"].iloc[0] == EVERY_OTHER else ""
        span = interval(best["iou_low"].iloc[0], best["iou_high"].iloc[0])
        text += f" ({span})" if span else ""
    baseline = judged.loc[judged["method"] == BASELINE, "iou"]
    if len(baseline) and BASELINE not in set(best["method"]):
        text += f"; {method_name(BASELINE)} has {percent(float(baseline.iloc[0]))} %"
    return text


def _adapted(models: DataFrame) -> str:
    """What adaptation on a few cases of an unseen site brought to the method that it served best."""
    found = models[models["model"] == ADAPTED]
    if not len(found):
        return ""
    best = found.sort_values("iou").iloc[-1]
    text = (
        f" With {method_name(best['method'])}'s private part adapted to a few cases there, it reaches "
        f"{percent(best['iou'])} %"
    )
    plain = models.loc[(models["method"] == best["method"]) & (models["model"] == FINETUNED), "iou"]
    if len(plain):
        text += f"; all of it fine-tuned on them without a guard, {percent(float(plain.iloc[0]))} %"
    return f"{text}."


def _ceiling(ranked: DataFrame) -> list[str]:
    pooled = ranked[ranked["method"] == UPPER_BOUND]
    return [f"Training on all data pooled reaches {percent(float(value))} %." for value in pooled["iou"]]


def _price(best: "Series[Any]") -> str:
    name, sent, got = method_name(best["method"]), best["bytes_in"], best["bytes_out"]
    if isnan(sent) or sent + got == 0:
        return f"{name} sends nothing."
    if size(sent) == size(got):
        return f"In a round of {name}, each site sends {size(sent)} and receives as much."
    return f"In a round of {name}, each site sends {size(sent)} and receives {size(got)}."


def _unfinished(run: Run, methods: DataFrame) -> list[str]:
    missing = [method for method in run.info.study.methods if method not in set(run.scores["method"])]
    started = [method for method in missing if method in set(methods["method"])]
    if not missing:
        return []
    names = listed([method_name(method) for method in missing])
    verb = "is" if len(missing) == 1 else "are"
    return [f"{names} {verb} not scored yet{'' if started else ' and not started'}."]


def _refusals(methods: DataFrame) -> list[str]:
    count = int(methods["refused"].sum()) if len(methods) else 0
    if not count:
        return []
    were, them = ("was", "it") if count == 1 else ("were", "them")
    return [f"{plural(count, 'reply')} {were} refused; the rounds went on without {them}."]

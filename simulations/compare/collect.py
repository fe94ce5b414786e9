"""The finished cells of a comparison as tables: scores per case, and what rounds cost."""

from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd
from pandas import DataFrame

from fedsurg.errors import RunError
from fedsurg.files import sha256_of_file
from fedsurg.methods.registry import METHODS
from fedsurg.metrics.summary import GLOBAL, MEASURES, PERSONAL_OF, case_means
from fedsurg.report.reading import read_rounds
from fedsurg.report.run_folder import read_scores
from fedsurg.report.tables import FIRST_CHOICE
from simulations.compare.plan import Cell, Plan, Variant
from simulations.done import DONE, SCORES_FILE, finished

CELL = ("family", "variant", "method", "seed", "fold", "left_out")
SCORES = (*CELL, "site", "role", "model", "simulated", "case", "frames", *MEASURES)
COSTS = (*CELL, "bytes_sent", "bytes_received", "seconds_per_round", "seconds", "refused")


@dataclass(frozen=True, eq=False)
class Collected:
    """Both tables. `scores`: a row per cell, site, model and case. `costs`: a row per cell in which sites trained."""

    scores: DataFrame
    costs: DataFrame


def collect(plan: Plan, folder: Path) -> Collected:
    """Read all cells of `plan` that are finished below `folder`.

    Raises:
        RunError: none is, or a file is damaged.
    """
    sources, cells = plan.sources(), [cell for cell in plan.cells() if (folder / cell.name / DONE).exists()]
    if not cells:
        raise RunError(f"{folder}: no cell has finished there; go on with --resume")
    scores: list[DataFrame] = []
    costs: list[dict[str, Any]] = []
    for cell in cells:
        table = _cases(folder / cell.name)
        price = _costs(folder / cell.name / "history.jsonl", pooled=METHODS[cell.variant.method].grouping == "pooled")
        for variant in plan.variants():
            rows, place = _read_by(variant, table), _place(variant, cell)
            if sources[variant.family, variant.name] == cell.variant and len(rows):
                scores.append(rows.assign(**place))
                costs += [place | price] if price else []
    return Collected(
        pd.concat(scores, ignore_index=True)[list(SCORES)], DataFrame(costs, columns=list(COSTS)).reset_index(drop=True)
    )


def judged(scores: DataFrame) -> DataFrame:
    """One row per variant, cell, role, site and case: of the model that the site is judged by.

    That is the personalised model of a federated site, and at an unseen site the global model as it is. Where nothing
    is shared, an unseen site is judged by the mean over the federated sites' own models; where nobody trains, each
    site by the start.
    """
    parts = [
        chosen
        for (_, _, role), part in scores.groupby(["family", "variant", "role"], sort=False)
        if len(chosen := _judged_by(part, str(role)))
    ]
    table = pd.concat(parts, ignore_index=True) if parts else scores
    keys = [*CELL, "role", "site", "case"]
    return table.groupby(keys, sort=False, dropna=False)[list(MEASURES)].mean().reset_index()  # there may be no fold


def over_cells(table: DataFrame) -> DataFrame:
    """`judged` with a case's seeds, folds and left-out sites averaged: the unit of all that follows."""
    keys = ["family", "variant", "method", "role", "site", "case"]
    return table.groupby(keys, sort=False)[list(MEASURES)].mean().reset_index()


def _judged_by(part: DataFrame, role: str) -> DataFrame:
    models = set(part["model"])
    for model in (FIRST_CHOICE[role], GLOBAL):
        if model in models:
            return part[part["model"] == model]
    others = part["model"].str.startswith(PERSONAL_OF)
    return part[others] if others.any() else part


def _read_by(variant: Variant, table: DataFrame) -> DataFrame:
    """The rows that a variant is about: all, or those of one model at unseen sites."""
    if not variant.model:
        return table
    return table[(table["role"] == "unseen") & (table["model"] == variant.model)]


def _place(variant: Variant, cell: Cell) -> dict[str, Any]:
    return {
        "family": variant.family,
        "variant": variant.name,
        "method": variant.method,
        "seed": cell.seed,
        "fold": pd.NA if cell.holdout.fold is None else cell.holdout.fold,
        "left_out": cell.holdout.site,
    }


def _cases(cell: Path) -> DataFrame:
    """Case means of every model at every site, from the folder of a finished cell."""
    file, told = cell / SCORES_FILE, finished(cell).get("scores_sha256")
    frames = read_scores(file)
    if frames is None or not len(frames) or (told and sha256_of_file(file) != told):
        what = "is missing" if frames is None else "was changed or cut" if len(frames) else "holds no scores"
        raise RunError(f"{file}: {what}, though the cell is finished; delete its folder and go on with --resume")
    parts = [
        case_means(part).assign(role=str(role), model=str(model), simulated=bool(simulated))
        for (role, model, simulated), part in frames.groupby(["role", "model", "simulated"], sort=False)
    ]
    return pd.concat(parts, ignore_index=True)


def _costs(file: Path, *, pooled: bool) -> dict[str, Any]:
    """What a round cost, of one site and of all; nothing where nobody trained, no bytes where all data is pooled."""
    rounds = read_rounds(file)
    trained = [entry for entry in rounds if entry.work == "train"]
    if not trained:
        return {}
    wire = nan if pooled else 1 / len(trained)
    seconds = [sum(value or 0.0 for value in entry.seconds.values()) for entry in trained]
    return {
        "bytes_sent": wire * sum(entry.bytes_in for entry in trained),
        "bytes_received": wire * sum(entry.bytes_out for entry in trained),
        "seconds_per_round": sum(seconds) / len(trained),
        "seconds": sum(seconds),
        "refused": sum(len(entry.refused) for entry in rounds),
    }

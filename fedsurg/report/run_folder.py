"""Reads a run folder, finished or not, into typed records.

    RUN/run.json                      the study, its digest, versions, machine
    RUN/runs/METHOD[-foldK]/          one folder per method and fold, or METHOD-without-SITE
        contract.json                 what is shared: one entry per tensor
        history.jsonl                 one line per finished round
        scores.csv                    one row per label of a test frame; written last
        overlays/overlays.json        pictures of predictions

Only `run.json` must exist: everything else appears as the run goes on.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import pandas as pd
from pandas import DataFrame
from pydantic import TypeAdapter

from fedsurg.errors import RunError
from fedsurg.metrics.summary import COLUMNS, MEASURES
from fedsurg.report.reading import parsed, read_rounds, text_of
from fedsurg.report.records import Overlay, Round, RunInfo, Tensor
from fedsurg.study_file.holdout import Holdout, left_out_name

T = TypeVar("T")

_FILES = ("contract.json", "history.jsonl", "scores.csv")  # of a method: a folder with none of them is another's


@dataclass(frozen=True)
class MethodRun:
    """One method on one fold, or without one site: there that site has another name (`left_out_name`)."""

    folder: Path
    method: str
    holdout: Holdout
    contract: list[Tensor]
    rounds: list[Round]
    scores: DataFrame | None  # None until the run has been evaluated
    overlays: list[Overlay]


@dataclass(frozen=True, eq=False)  # compared and hashed as the one object that was read
class Run:
    """A run folder; `runs` in the order of the study, folds and left-out sites ascending. Do not change its tables."""

    path: Path
    info: RunInfo
    runs: list[MethodRun] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read everything that is there.

        Raises:
            RunError: the folder or its `run.json` is missing, or a file is not what it should be.
        """
        info = _read_info(path)
        order = {method: position for position, method in enumerate(info.study.methods)}
        folders = sorted((path / "runs").glob("*"))
        runs = [_read_method(folder) for folder in folders if any((folder / name).is_file() for name in _FILES)]
        runs.sort(
            key=lambda run: (order.get(run.method, len(order)), run.method, run.holdout.fold or 0, run.holdout.site)
        )
        return cls(path, info, runs)

    @property
    def methods(self) -> list[str]:
        """Names of the methods that have started."""
        return list(dict.fromkeys(run.method for run in self.runs))

    def of(self, method: str) -> list[MethodRun]:
        """The folds of one method, or its runs without one site."""
        return [run for run in self.runs if run.method == method]

    @cached_property
    def scores(self) -> DataFrame:
        """Frame scores of all methods and folds; empty when nothing has been evaluated."""
        tables = [run.scores for run in self.runs if run.scores is not None]
        return pd.concat(tables, ignore_index=True) if tables else DataFrame(columns=list(COLUMNS))


def _read_info(path: Path) -> RunInfo:
    if not path.is_dir():
        raise RunError(f"{path}: no such folder; give the output folder of a run")
    file = path / "run.json"
    if not file.is_file():
        raise RunError(f"{path}: run.json is missing, so this is no run's output; give the folder above runs/")
    content = parsed(TypeAdapter(dict[str, Any]), text_of(file), file)
    info = parsed(TypeAdapter(RunInfo), json.dumps(content | {"settings": content.get("study")}), file)
    drawn = {name for site in info.simulated_sites if (name := left_out_name(site)) in info.left_out}
    return info.model_copy(update={"simulated_sites": info.simulated_sites | drawn})


def _read_method(folder: Path) -> MethodRun:
    method, holdout = Holdout.of_name(folder.name)
    return MethodRun(
        folder=folder,
        method=method,
        holdout=holdout,
        contract=_read_list(folder / "contract.json", TypeAdapter(list[Tensor])),
        rounds=read_rounds(folder / "history.jsonl"),
        scores=read_scores(folder / "scores.csv", holdout.site),
        overlays=_overlays(folder / "overlays" / "overlays.json", holdout.site),
    )


def _read_list(file: Path, kind: TypeAdapter[list[T]]) -> list[T]:
    return parsed(kind, text_of(file), file) if file.is_file() else []


def _overlays(file: Path, left_out: str) -> list[Overlay]:
    """The pictures; where a site was left out, that site's alone: the others look alike in every such run."""
    pictures = _read_list(file, TypeAdapter(list[Overlay]))
    if not left_out:
        return pictures
    name = left_out_name(left_out)
    return [picture.model_copy(update={"site": name}) for picture in pictures if picture.site == left_out]


def read_scores(file: Path, left_out: str = "") -> DataFrame | None:
    """The table of frame scores, none where there is no file; a left-out site has its other name in it."""
    if not file.is_file():
        return None
    try:
        # A site called "null" or "NA" is a name; in the measures an empty field is NaN.
        text = dict.fromkeys(("method", "site", "role", "model", "case", "clip", "label"), str)
        types: dict[str, type] = text | dict.fromkeys(MEASURES, float)
        table = pd.read_csv(file, dtype=types, keep_default_na=False, na_values=["", "nan", "NaN"])
    except (OSError, ValueError) as problem:
        raise RunError(f"{file}: is no table of scores ({problem}); evaluate the run again") from problem
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise RunError(f"{file}: the columns {missing} are missing; evaluate the run again")
    cut = table[["method", "site", "case", "label"]].isna().any(axis=1)
    if cut.any():
        raise RunError(f"{file}, line {int(cut.to_numpy().argmax()) + 2}: is not whole; evaluate the run again")
    return table.replace({"site": {left_out: left_out_name(left_out)}}) if left_out else table

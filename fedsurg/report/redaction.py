"""What may be shown outside the hospitals: a run without case names, paths, reasons or real frames.

The shareable report is the same report drawn from a redacted run, so no template can print what is not there.
Kept are site names, scores per site, the sharing contract, traffic, the study's settings and the digest.
"""

import tomllib
from dataclasses import replace
from typing import Any

from pandas import DataFrame, Series

from fedsurg.files import toml_value
from fedsurg.report.records import RunInfo
from fedsurg.report.run_folder import MethodRun, Run

WITHHELD = "(withheld)"
PLACES = ("backgrounds", "instruments", "start", "encoder_weights", "text_model")  # settings that may name a place
NO_PLACE = ("", "shipped")
MACHINE_KEYS = ("cpu", "cores", "memory_gb", "device")


def redacted(run: Run) -> Run:
    """A copy of the run that holds nothing of a patient and no path."""
    return Run(path=run.path, info=_info(run.info), runs=[_method(run, one) for one in run.runs])


def _info(info: RunInfo) -> RunInfo:
    return info.model_copy(
        update={
            "settings": without_paths(info.settings),
            "machine": {key: info.machine[key] for key in MACHINE_KEYS if key in info.machine},
            "command": "",
        }
    )


def _method(run: Run, one: MethodRun) -> MethodRun:
    rounds = [entry.model_copy(update={"refused": dict.fromkeys(entry.refused, WITHHELD)}) for entry in one.rounds]
    # A picture leaves only if the picture and the run both say that its site is simulated.
    pictures = [
        picture.model_copy(update={"case": "", "caption": "simulated frame"})
        for picture in one.overlays
        if picture.simulated and picture.site in run.info.simulated_sites
    ]
    scores = None if one.scores is None else _numbered(one.scores, run.scores)
    return replace(one, rounds=rounds, scores=scores, overlays=pictures)


def _numbered(scores: DataFrame, everything: DataFrame) -> DataFrame:
    """Cases and clips as numbers, the same in every method, in the order of their names.

    The order keeps the resampling of cases, and with it every interval, as it is in the full report.
    """
    return scores.assign(**{name: _numbers(scores[name], everything[name]) for name in ("case", "clip")})


def _numbers(names: "Series[Any]", everything: "Series[Any]") -> "Series[Any]":
    order = {name: f"{number:06d}" for number, name in enumerate(sorted(set(everything)))}
    return names.map(order)


def without_paths(value: Any) -> Any:
    """Settings with every text that names, or could be, a place on a disk or in a network withheld."""
    if isinstance(value, dict):
        return {key: _without_place(key, inner) for key, inner in value.items() if key != "folder"}
    if isinstance(value, list | tuple):
        return [without_paths(inner) for inner in value]
    is_place = isinstance(value, str) and (value.startswith(("~", ".")) or any(mark in value for mark in "/\\"))
    return WITHHELD if is_place else value


def setting_without_place(word: str) -> str:
    """`KEY=VALUE` of a command line with a TOML value, which is withheld where it names a place."""
    key, _, text = word.partition("=")
    value = tomllib.loads(f"value = {text}")["value"]
    kept = _without_place(key.strip().rpartition(".")[2], value) == value
    return f"{key.strip()}={toml_value(value) if kept else WITHHELD}"  # written anew: a comment may say anything


def _without_place(key: str, value: Any) -> Any:
    if key in PLACES and isinstance(value, str):
        return value if value in NO_PLACE else WITHHELD
    return without_paths(value)

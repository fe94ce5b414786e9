"""Models that another comparison trained, scored in place of training: for other ways of scoring, in minutes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import fedsurg
from fedsurg.errors import RunError
from fedsurg.files import canonical_json
from fedsurg.report.reading import read_rounds
from fedsurg.study.config import Study
from fedsurg.study_file.load import changed, parse_values
from simulations.compare.plan import Cell, Plan
from simulations.compare.record import CELLS, RECORD, Record, read_record
from simulations.done import DONE, finished
from simulations.job import GLOBAL_MODEL, PERSONAL_MODEL, digest_of_state

SCORING = (
    "unseen_cases",
    "scales",
    "confidence",
    "mirrored",
    "decision",
    "sureness",
    "tolerance_px",
    "mean_query",
    "bootstrap",
)  # keys of `[evaluation]` that are about finished models alone


def kept_models(plan: Plan, cells: Sequence[Cell], folder: Path) -> dict[str, Path]:
    """The folders that hold what some cells of `plan` would train, by the cells' names.

    Args:
        plan: may score otherwise than the comparison in `folder`.
        cells: of the plan.
        folder: of a comparison that kept its models.

    Raises:
        RunError: it is no comparison, has another study, or lacks a cell or its models.
    """
    record = read_record(folder)
    version = record["versions"].get("fedsurg", fedsurg.__version__)
    if version != fedsurg.__version__:
        raise RunError(
            f"{folder}: was trained by fedsurg {version}, this is {fedsurg.__version__}; score its models with that one"
        )
    trained_by = parse_values(record["study"], str(folder / RECORD), {})
    trained = {cell.name: cell for cell in replace(plan, study=_scored_as(plan.study, trained_by)).cells()}
    found = {cell.name: folder.resolve() / CELLS / cell.name for cell in cells}
    for name, place in found.items():
        _check(place, trained.get(name))
    return found


def origins(cells: Sequence[str], folder: Path) -> list[Record]:
    """Where the models of some cells of a comparison come from, for those who score them.

    Returns:
        Per comparison that trained some of them its digest, machine, versions and jobs, and these `cells`.
    """
    record = read_record(folder)
    passed_on = narrowed(record.get("trained", ()), lambda cell: cell in cells)
    known = {cell for origin in passed_on for cell in origin["cells"]}
    here = {key: record[key] for key in ("digest", "machine", "versions", "jobs")}
    return [*passed_on, *narrowed([here | {"cells": list(cells)}], lambda cell: cell not in known)]


def joined(found: Iterable[Record]) -> list[Record]:
    """Origins of which those that differ in nothing but their cells are one."""
    known: dict[str, Record] = {}
    for origin in found:
        facts = canonical_json({key: value for key, value in origin.items() if key != "cells"})
        before = known.get(facts, {"cells": []})["cells"]
        known[facts] = origin | {"cells": [*before, *origin["cells"]]}
    return list(known.values())


def narrowed(found: Iterable[Record], holds: Callable[[str], bool]) -> list[Record]:
    """Origins of those cells alone for which `holds` is true; one without any is left out."""
    fewer = [origin | {"cells": [cell for cell in origin["cells"] if holds(cell)]} for origin in found]
    return [origin for origin in fewer if origin["cells"]]


def _scored_as(study: Study, other: Study) -> Study:
    """`study` with the other one's ways of scoring a finished model."""
    values = other.evaluation.model_dump(mode="json")
    return changed(study, {f"evaluation.{key}": values[key] for key in SCORING})


def _check(place: Path, cell: Cell | None) -> None:
    """Whether `place` holds the models of `cell`."""
    if cell is None or not (place / DONE).exists():
        raise RunError(f"{place}: has not run there to its end, so it has no models; go on there with --resume")
    if finished(place)["digest"] != digest_of_state(cell.study(), cell.name):
        raise RunError(
            f"{place}: was trained by another study, or by another version of fedsurg; give its study and its --set "
            f"again, and other values only of these keys of [evaluation]: {', '.join(SCORING)}"
        )
    rounds = read_rounds(place / "history.jsonl")
    delivered = [Path("sites") / site / PERSONAL_MODEL for site in (rounds[-1].sites if rounds else ())]
    for model in (GLOBAL_MODEL, *delivered):
        if not (place / model).exists():
            raise RunError(f"{place / model}: is missing; run that comparison with --keep-models")

"""`fedsurg compare`: the cells of a comparison in parallel processes, each going on where it was stopped."""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedsurg.errors import RunError, StudyError
from fedsurg.files import write_atomic
from fedsurg.methods.registry import METHODS
from fedsurg.report.wording import plural
from fedsurg.study.config import Study
from fedsurg.study_file.load import changed
from simulations.compare.finished_models import joined, kept_models, narrowed, origins
from simulations.compare.plan import Cell, Plan, Variant
from simulations.compare.record import CELLS, RECORD, Record, read_record
from simulations.done import DONE, finished
from simulations.job import Job, drop_models, job_digest
from simulations.options import RunOptions
from simulations.pool import run_jobs
from simulations.preparation import Prepared, check_networks, prepare_for
from simulations.progress import Progress
from simulations.run_folder import claimed, facts_of_run, inputs_of_run

log = logging.getLogger("fedsurg.simulations")


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """How to run a comparison; a job is a cell.

    Args:
        command: as it may be shown to anyone: without paths.
        keep_models: keep the models of finished cells.
        models_of: folder of a comparison that kept its models; they are scored in place of rounds.
    """

    command: str = ""
    keep_models: bool = False
    models_of: Path | None = None


def compare(plan: Plan, options: Options, progress: Progress) -> tuple[Plan, Record]:
    """Run or resume a comparison.

    Returns:
        All that the folder now holds, which is more than `plan` where an earlier command ran other methods there; and
        what it was made with.

    Raises:
        RunError: the folder is taken, foreign or cannot be written, or the reference is not among the methods.
        FedsurgError: preparing or a cell failed; finished cells and rounds stay on disk.
    """
    started = time.perf_counter()
    with claimed(options.out, plan.digest, resume=options.resume, record=RECORD) as before:
        old = read_record(options.out) if (options.out / RECORD).exists() else {}
        whole = _joined(plan, old)
        models = _models(plan, options)
        prepared = _prepare(plan, options, progress)
        inputs = inputs_of_run(options.out / RECORD, prepared)
        if options.models_of and models:
            inputs_of_run(options.models_of / RECORD, prepared, "--models-of")
        _take_finished(whole, options, prepared)
        jobs = [job for job in jobs_of(plan, options, prepared, models) if not job.done]
        made = _made_with(options, prepared) if jobs or not old else {}
        record = _record(whole, old, options.command) | inputs | made | {"trained": _origins(old, jobs, options)}
        write = _writer(options.out / RECORD, record, before)
        write(0.0)
        try:
            run_jobs(jobs, options.jobs, progress)
        finally:
            write(time.perf_counter() - started)
    return whole, record


def _models(plan: Plan, options: Options) -> dict[str, Path]:
    """Where the models of the cells that are still to be scored lie, if they are not to be trained."""
    if options.models_of is None:
        return {}
    still = [cell for cell in plan.cells() if not (options.out / CELLS / cell.name / DONE).exists()]
    return kept_models(plan, still, options.models_of) if still else {}


def jobs_of(plan: Plan, options: Options, prepared: Prepared, models: Mapping[str, Path] | None = None) -> list[Job]:
    """One job per cell; a cell whose finished models lie somewhere, by its name in `models`, trains none."""
    folder, keep = options.out.resolve() / CELLS, options.keep_models
    template = prepared.job(options, study=plan.study, method="", fold=None, folder=folder, keep_models=keep)
    return [_job(cell, replace(template, models=(models or {}).get(cell.name))) for cell in plan.cells()]


def _job(cell: Cell, template: Job) -> Job:
    start = template.start
    if cell.variant.reduced:
        start = _reduced_start(cell.variant, start, template.folder.parent / "starts")
    return replace(
        template,
        study=cell.study(),
        method=cell.variant.method,
        fold=cell.holdout.fold,
        title=cell.name,
        folder=template.folder / cell.name,
        start=start,
    )


def _reduced_start(variant: Variant, common: Path, folder: Path) -> Path:
    """The common start without the tensors that the variant's network has not."""
    from fedsurg.models.network import network_of
    from fedsurg.tensor_file import read_tensors, write_tensors

    path = folder / f"{variant.name}-of-{common.name}"
    if not path.exists():
        tensors, facts = read_tensors(common)
        known = network_of(variant.study).tensors()
        write_tensors(path, {name: value for name, value in tensors.items() if name in known}, facts)
    return path


def _prepare(plan: Plan, options: Options, progress: Progress) -> Prepared:
    """What all cells share; mistakes in a control's network are found before anything is drawn."""
    _check_start(plan.study, plan.seeds)  # no control has another encoder
    variants = plan.variants()
    for variant in variants:
        check_networks(variant.study)
    methods = list(dict.fromkeys(variant.method for variant in variants))
    study = changed(plan.study, {"methods": methods})
    return prepare_for(study, options, progress)


def _check_start(study: Study, seeds: int) -> None:
    """Every cell begins at one start, which holds no batch statistics; those of random weights are of one seed.

    Raises:
        StudyError: the cells of another seed would run another network.
    """
    from fedsurg.models.encoder import keeps_batch_statistics
    from fedsurg.models.network import network_of

    if seeds > 1 and not study.network.encoder_weights and keeps_batch_statistics(network_of(study)):
        raise StudyError(
            f"study {study.name!r}: network.encoder: {study.network.encoder} keeps batch statistics, other ones for "
            "each seed; name network.encoder_weights, use an encoder without, such as pvt_v2_b0, or give --seeds 1"
        )


def _take_finished(whole: Plan, options: Options, prepared: Prepared) -> None:
    """Every finished cell, whichever command ran it, belongs into one table; what it was to drop is dropped.

    Raises:
        RunError: one was made with other settings, or its `done.json` is damaged.
    """
    without = 0
    for job in jobs_of(whole, options, prepared):
        if not job.done:
            continue
        facts = finished(job.folder)
        without += not facts.get("keep_models", True)
        if facts["digest"] != job_digest(job):
            raise RunError(
                f"{job.folder}: was finished with other settings; delete this folder, or choose another --out"
            )
        drop_models(job.folder)
    if options.keep_models and without:
        log.warning(
            "--keep-models comes too late for %s, finished without their models; delete %s there to train them anew",
            plural(without, "cell"),
            "its folder" if without == 1 else "their folders",
        )


def _joined(plan: Plan, old: Record) -> Plan:
    """The plan of this command joined with what earlier ones ran in the folder.

    Raises:
        RunError: the reference is not among the methods, or this version has not one of theirs.
    """
    gone = [name for name in old.get("methods", ()) if name not in METHODS]
    if gone:
        raise RunError(f"{RECORD}: holds method {gone[0]!r}, which this version has not; choose another --out")
    whole = Plan(
        plan.study,
        tuple(dict.fromkeys([*old.get("methods", ()), *plan.methods])),
        plan.ablate or bool(old.get("ablate")),
        max(plan.seeds, int(old.get("seeds", 0))),
        plan.reference or old.get("reference", ""),
    )
    if whole.reference and whole.reference not in whole.methods:
        ran = ", ".join(whole.methods) or "none, only controls"
        raise RunError(
            f"--reference {whole.reference!r}: is not among the methods compared ({ran}); add it to --methods"
        )
    return whole


def _made_with(options: Options, prepared: Prepared) -> Record:
    """What the numbers depend on beside the plan, of the last command that ran a cell."""
    made = {"jobs": options.jobs, "threads": options.threads, "simulated_sites": prepared.simulated}
    return made | facts_of_run(options.device)


def _origins(old: Record, jobs: Sequence[Job], options: Options) -> list[Record]:
    """Who trained the cells that were not trained here, those of earlier commands included: see `origins`."""
    now = [job.name for job in jobs]
    before = narrowed(old.get("trained", ()), lambda cell: cell not in now)
    return joined([*before, *origins(now, options.models_of)]) if options.models_of and now else before


def _record(whole: Plan, old: Record, command: str) -> Record:
    """The file that says what the folder holds."""
    commands = list(dict.fromkeys([*old.get("commands", ()), *([command] if command else ())]))
    return old | {
        "study": whole.study.resolved(),
        "digest": whole.digest,
        "methods": whole.methods,
        "ablate": whole.ablate,
        "seeds": whole.seeds,
        "reference": whole.reference,
        "commands": commands,
    }


def _writer(path: Path, record: Mapping[str, Any], before: float) -> Callable[[float], None]:
    """Writes the record with the seconds spent so far, those of earlier commands included."""
    return lambda seconds: write_atomic(path, json.dumps(dict(record) | {"wall_s": before + seconds}, indent=1))

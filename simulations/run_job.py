"""Running a job: its rounds on an engine, adaptation at unseen sites, scores."""

import json
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from fedsurg.files import canonical_json, sha256_of_file, write_atomic
from fedsurg.tensor_file import read_tensors, write_tensors
from server.checkpoint import CheckpointStore
from server.federation import Federation
from server.server_app import make_server_app
from simulations.adaptation import adapt_unseen
from simulations.bench import Bench, EngineOf, put_away, set_up
from simulations.done import DONE, SCORES_FILE
from simulations.inline import run_inline
from simulations.job import CONTRACT, GLOBAL_MODEL, PERSONAL_MODEL, Job, drop_models
from simulations.scores import score_job
from site_client.client_app import make_client_app


def run_job(job: Job, on_round: Callable[[dict[str, Any]], None], stopped: Callable[[], bool]) -> None:
    """Run or resume a job to its scores; where it has finished models, score these.

    Raises:
        FedsurgError: see `Federation.run`.
    """
    started = time.perf_counter()
    bench = set_up(job)
    if job.models:
        model = _take_models(job.models, job.folder)
    else:
        model = _federate(bench, on_round, stopped)
        write_tensors(job.folder / GLOBAL_MODEL, model, {"study": bench.digest})
    adapt_unseen(bench, model)
    scoring = time.perf_counter()
    score_job(bench)
    ended = time.perf_counter()
    facts = {
        "digest": bench.digest,
        "start": str(job.start),
        "scores_sha256": sha256_of_file(job.folder / SCORES_FILE),
        "score_s": ended - scoring,
        "wall_s": ended - started,
        "keep_models": job.keep_models,
    }
    write_atomic(job.folder / DONE, canonical_json(facts))
    drop_models(job.folder)
    put_away()


def _take_models(finished_job: Path, folder: Path) -> dict[str, Tensor]:
    """Copy a finished job's models, and what its rounds cost; returns the global model."""
    personal = (file.relative_to(finished_job) for file in finished_job.glob(f"sites/*/{PERSONAL_MODEL}"))
    for name in (Path("history.jsonl"), Path(CONTRACT), GLOBAL_MODEL, *personal):
        if (finished_job / name).exists():  # there is no history where nobody trained
            write_atomic(folder / name, (finished_job / name).read_bytes())
    return read_tensors(folder / GLOBAL_MODEL)[0]


def _federate(
    bench: Bench, on_round: Callable[[dict[str, Any]], None], stopped: Callable[[], bool]
) -> dict[str, Tensor]:
    """All rounds of a job on its engine; returns the global model. Where nobody trains, that is the start."""
    job, contract = bench.job, bench.contract()
    write_atomic(job.folder / CONTRACT, json.dumps(contract.rows(), indent=1))
    if not bench.nodes:
        return bench.start
    step = bench.server(contract)
    store = CheckpointStore(job.folder / "server", bench.digest, contract)
    over = threading.Event()  # when an engine dies, the server must not wait on in a thread of it
    federation = Federation(
        job.study,
        bench.digest,
        contract,
        bench.nodes,
        step,
        store,
        bench.first(contract),
        on_round,
        lambda: stopped() or over.is_set(),
        turns=math.ceil(bench.nodes / (job.processes if job.engine == "ray" else 1)),
    )
    server_app = make_server_app(lambda context: federation)
    client_app = make_client_app(EngineOf(job))
    try:
        if job.engine == "ray":
            from simulations.ray import run_ray

            run_ray(server_app, client_app, bench.nodes, processes=job.processes, threads=job.threads)
        else:
            run_inline(server_app, client_app, bench.nodes, job.study.federation.deadline_s)
    finally:
        over.set()
    state = store.load()
    assert state is not None  # the federation has just saved it
    return step.neutral(state.shared)

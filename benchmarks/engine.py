"""Speed and memory of the federation itself, without any learning.

    python benchmarks/engine.py [--rounds 50] [--json]

Prints the median time of an inline echo round (3 sites, 0.4 MB update; with and without the checkpoint's fsync), the
peak memory of averaging 3 and 30 sites with a 20 MB update, and the time of `fedsurg --help`.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

from fedsurg.learning.server_step import Broadcast
from fedsurg.sharing.contract import Contract, Entry
from fedsurg.sharing.protocol import Report, Request
from fedsurg.sharing.update import Packed, RunningMean, Update
from fedsurg.study.config import SiteConfig, Study
from server.checkpoint import CheckpointStore, ServerState
from server.federation import Federation
from server.server_app import make_server_app
from simulations.inline import run_inline
from site_client.client_app import make_client_app

SITES = 3


class EchoSite:
    """Sends back what it got: what is left is the cost of the federation."""

    def __init__(self, name: str, contract: Contract) -> None:
        self.name, self._contract = name, contract

    def work(self, request: Request, packed: Packed) -> tuple[Update | None, Report]:
        """Check and return the tensors."""
        update = Update.unpack(packed, self._contract)
        return (update if request.work == "train" else None), Report(samples=1)


class NoStore(CheckpointStore):
    """A checkpoint that is not written, to time the round alone."""

    def save(self, state: ServerState) -> None:
        """Nothing."""


def contract_of(tensors: int, values: int) -> Contract:
    """A contract of equal float32 tensors."""
    return Contract(tuple(Entry(f"tensor{n}", "encoder", "shared", (values,)) for n in range(tensors)))


def echo_rounds(rounds: int, *, checkpoint: bool) -> list[float]:
    """Seconds of each of `rounds` inline rounds of 3 sites with a 0.4 MB update."""
    contract = contract_of(50, 2000)
    sites = tuple(SiteConfig(name=f"site{n}", procedure="echo") for n in range(SITES))
    study = Study(name="echo", sites=sites).model_copy(update={})
    study = study.model_copy(update={"federation": study.federation.model_copy(update={"rounds": rounds})})
    first = ServerState(
        0, Update.of({name: np.ones(entry.shape, np.float32) for name, entry in contract.shared.items()})
    )
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store = (CheckpointStore if checkpoint else NoStore)(Path(folder) / "server", "echo", contract)
        federation = Federation(
            study,
            "echo",
            contract,
            SITES,
            Broadcast({}),
            store,
            first,
            lambda record: times.append(time.perf_counter()),
        )
        engines = [EchoSite(site.name, contract) for site in sites]
        client = make_client_app(lambda context: engines[int(context.node_config["partition-id"])])  # type: ignore[arg-type,return-value]
        run_inline(make_server_app(lambda context: federation), client, SITES, 60.0)
    return [after - before for before, after in itertools.pairwise(times)][:-1]


def averaging_peak(sites: int) -> float:
    """Peak MB that averaging `sites` updates of 20 MB takes, the update at hand included."""
    contract = contract_of(50, 100_000)
    tracemalloc.start()
    mean = RunningMean()
    for number in range(sites):
        mean.add(Update.of({name: np.full(e.shape, number, np.float32) for name, e in contract.shared.items()}))
    mean.mean()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def help_time(runs: int = 5) -> float:
    """Median seconds of `fedsurg --help`."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "fedsurg.cli", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    facts = {
        "echo_round_ms": 1000 * statistics.median(echo_rounds(options.rounds, checkpoint=False)),
        "echo_round_with_checkpoint_ms": 1000 * statistics.median(echo_rounds(options.rounds, checkpoint=True)),
        "averaging_3_sites_peak_mb": averaging_peak(3),
        "averaging_30_sites_peak_mb": averaging_peak(30),
        "help_s": help_time(),
    }
    lines = [f"{name:<32}{value:10.3f}" for name, value in facts.items()]
    sys.stdout.write((json.dumps(facts) if options.json else "\n".join(lines)) + "\n")


if __name__ == "__main__":
    main()

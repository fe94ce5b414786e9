"""What a deployed round costs, beside plain Flower on the same machine in the same run; and twenty sites at once.

    python benchmarks/deployed.py rounds                 # three hospitals with PVTv2-B0, beside plain Flower
    python benchmarks/deployed.py sites                  # 1, 5, 10 and 20 thin sites on one coordinator

Plain Flower: SuperLink and three SuperNodes with their defaults, Flower's own FedAvg, a ClientApp that imports nothing
but Flower and returns the array it got, of as many bytes as the contract. Ours: gateway with mutual TLS, workers
with torch, policy, vault and audit log, one training step a round and no validation, so that what is compared is not
training. The first round of each is left out of the medians and shown apart.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import click
import psutil
from plain_flower import plain_flower
from processor_time import processor_seconds

from fedsurg.methods.facts import facts_of
from fedsurg.study.digest import study_digest
from fedsurg.study_file.load import load_study
from simulations.loopback import Loopback, wait_for
from simulations.thin_site import ThinSite, echo

SITES = ("north", "east", "south")
STUDY = """
name = "cost"
seed = 0
methods = ["fedavg"]
[task]
classes = ["background", "shaft", "wrist", "clasper"]
image_size = [64, 64]
[network.temporal]
enabled = false
[network.gate]
text = "onehot"
[federation]
rounds = {rounds}
quorum = {sites}
[local]
steps = 1
batch_size = 2
[server.pretrain]
start = "{start}"
[evaluation]
every = 1000
max_frames = 1
"""
SITE = '\n[[sites]]\nname = "{name}"\nprocedure = "any surgery"\n'
POLICY = "minimum_cases = 1\nminimum_scored_cases = 1\n"
FINISH_S = 1800.0


def main() -> None:
    """Measure one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rounds", "sites"))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 5, 10, 20])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fl") as folder:
        if given.what == "rounds":
            rounds(Path(folder), given.rounds)
        else:
            sites(Path(folder), given.rounds, given.counts)


def rounds(folder: Path, count: int) -> None:
    """Time a round of three hospitals, and one of plain Flower with as many bytes."""
    data = rendered(folder / "data")
    study = study_file(folder, SITES, count, start_file(folder))
    ours, ours_work, wire, contract, started = deployed(folder / "deployed", data, study)
    plain, plain_work = plain_flower(folder / "plain", contract, len(SITES), count)
    show("plain Flower, a client that imports nothing", plain, plain_work)
    show("fedsurg, deployed", ours, ours_work)
    ratio = statistics.median(ours[1:]) / statistics.median(plain[1:])
    click.echo(f"a deployed round costs {100 * (ratio - 1):+.1f} % (aim: at most +10 %)")
    click.echo(f"contract {contract} B; on the wire, per round and site: " + ", ".join(wire_text(wire, contract)))
    click.echo("workers ready after " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in started.items()))


def deployed(
    folder: Path, data: dict[str, Path], study: Path
) -> tuple[list[float], dict[str, float], dict[str, float], int, dict[str, float]]:
    """Run the study with real processes.

    Returns:
        Seconds of each round; processor seconds of the run, by kind of process; bytes that a site sent and received in
        one round; bytes of the contract; seconds until each worker was ready.
    """
    with Loopback(folder, data, POLICY, {"OMP_NUM_THREADS": "1", "FEDSURG_THREADS": "1"}) as federation:
        federation.join()
        federation.approve(study)
        begun = time.monotonic()
        federation.start()
        started = {name: worker_start(federation, name) for name in data}
        click.echo(f"all processes up after {time.monotonic() - begun:.1f} s")
        processes = by_kind(federation)
        before = processor_seconds(processes)
        done = federation.run(study, timeout_s=FINISH_S)
        after = processor_seconds(processes)
        if done.returncode:
            sys.exit(done.stderr)
        folder = federation.run_folder(study_digest(load_study(study)))
        history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        seconds = [sum(record["seconds"].values()) for record in history if record["work"] == "train"]
        if processes != by_kind(federation):
            sys.exit("processes were started again meanwhile; their logs are in run/logs, run this again")
        contract = facts_of(load_study(study), "fedavg")[1].bytes_per_message
        work = {kind: after[kind] - before[kind] for kind in after}
        return seconds, work, on_the_wire(federation, len(history)), contract, started


def by_kind(federation: Loopback) -> dict[str, list[int]]:
    """Process numbers of all supervised processes by their names; a name of the sites' has one of each site."""
    found: dict[str, list[int]] = {}
    for end in ("coordinator", *federation.sites):
        for name, process in federation.processes(end).items():
            found.setdefault(name, []).append(process["pid"])
    return found


def worker_start(federation: Loopback, name: str) -> float:
    """Seconds from the start of a worker's process until it was ready, to the second."""
    log = (federation.site(name) / "run" / "logs" / "worker.log").read_text()
    (begun,) = re.findall(r"^-- (\S+) started as process", log, re.MULTILINE)
    ready = federation.processes(name)["worker"]["since"]
    return (datetime.fromisoformat(ready) - datetime.fromisoformat(begun)).total_seconds()


def on_the_wire(federation: Loopback, rounds_asked: int) -> dict[str, float]:
    """Bytes that one site sent and received in one round, as the gateway's request log counts bodies."""
    sums = {"sent": 0, "received": 0}
    for line in (federation.coordinator / "run" / "logs" / "requests.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry.get("path", "").rsplit("/", 1)[-1] in ("push-object", "push-messages"):
            sums["sent"] += entry["bytes_in"]
        if entry.get("path", "").rsplit("/", 1)[-1] in ("pull-object", "pull-messages"):
            sums["received"] += entry["bytes_out"]
    sites = len(federation.sites)
    # The last delivery goes out with tensors and comes back without.
    return {"sent": sums["sent"] / sites / (rounds_asked - 1), "received": sums["received"] / sites / rounds_asked}


def wire_text(wire: dict[str, float], contract: int) -> list[str]:
    """For a person."""
    return [f"{name} {count:,.0f} B ({100 * (count / contract - 1):+.2f} %)" for name, count in wire.items()]


def sites(folder: Path, count: int, counts: list[int]) -> None:
    """Time of a round and memory of the coordinator, by the number of thin sites."""
    names = [f"site-{number:02}" for number in range(max(counts))]
    empty = folder / "empty"
    empty.mkdir()
    start = start_file(folder)
    with Loopback(folder / "fl", {}, POLICY, {"OMP_NUM_THREADS": "1", "FEDSURG_THREADS": "1"}) as federation:
        federation.join()
        for name in names:
            federation.join_site(name, empty)
        federation.start_coordinator()
        click.echo(
            "| sites | a round, median | slowest | coordinator, most memory of all its processes |\n|---|---|---|---|"
        )
        for wanted in counts:
            study = study_file(folder, names[:wanted], count, start)
            thin = [ThinSite(federation.site(name), echo(name)) for name in names[:wanted]]
            for one in thin:
                one.start()
            most, seconds = watched(federation, study)
            for one in thin:
                one.stop()
            middle, slowest = statistics.median(seconds[1:]), max(seconds[1:])
            click.echo(f"| {wanted} | {middle:.1f} s | {slowest:.1f} s | {most / 2**20:.0f} MiB |")


def watched(federation: Loopback, study: Path) -> tuple[int, list[float]]:
    """Run a study; most memory (bytes, of all processes of the coordinator together), seconds of each round."""
    begun = federation.run(study, "--detach")
    if begun.returncode:
        sys.exit(begun.stderr)
    folder = federation.run_folder(study_digest(load_study(study)))
    top = psutil.Process(federation.pid("coordinator"))
    most = 0

    def over() -> bool:
        nonlocal most
        most = max(most, sum(memory(one) for one in [top, *top.children(recursive=True)]))
        state = json.loads((folder / "status.json").read_text())
        if state["state"] in ("failed", "paused"):
            sys.exit(state["why"])
        return bool(state["state"] == "finished")

    wait_for(over, FINISH_S, "the run does not end", 0.5)
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return most, [sum(record["seconds"].values()) for record in history if record["work"] == "train"]


def memory(process: psutil.Process) -> int:
    """Its own memory in bytes; 0 when it has just ended."""
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def rendered(folder: Path) -> dict[str, Path]:
    """A small folder of simulated video for each hospital."""
    for number, name in enumerate(SITES):
        words = ["--profile", "abdominal", "--clips", "6", "--val-cases", "1", "--frames", "2", "--size", "64x64"]
        seed = str(40 + number)
        command = [sys.executable, "-m", "fedsurg", "simulator", "render", *words, "--seed", seed]
        subprocess.run([*command, "--out", str(folder / name)], check=True, capture_output=True)
    return {name: folder / name for name in SITES}


def start_file(folder: Path) -> Path:
    """The start of a network that was not trained: its values do not matter here."""
    target = folder / "start.safetensors"
    study = folder / "pretrain.toml"
    text = STUDY.format(rounds=1, sites=1, start="") + SITE.format(name="north")
    text += '\n[synthetic]\nprofiles = ["abdominal"]\nclips = 2\nframes = 2\n'
    study.write_text(text.replace("[server.pretrain]\n", "[server.pretrain]\nsteps = 1\n"))
    command = [sys.executable, "-m", "fedsurg", "pretrain", str(study), "--out", str(target)]
    subprocess.run([*command, "--cache", str(folder / "cache")], check=True, capture_output=True)
    return target


def study_file(folder: Path, names: list[str] | tuple[str, ...], count: int, start: Path) -> Path:
    """A study of so many sites."""
    file = folder / f"cost-{len(names)}.toml"
    file.write_text(
        STUDY.format(rounds=count, sites=len(names), start=start) + "".join(SITE.format(name=name) for name in names)
    )
    return file


def show(what: str, seconds: list[float], work: dict[str, float]) -> None:
    """Two lines: how long a round takes, and what the processors do in one, all rounds and the delivery together."""
    rest = seconds[1:]
    click.echo(
        f"{what}: median {statistics.median(rest):.2f} s a round ({min(rest):.2f} to {max(rest):.2f}), "
        f"the first {seconds[0]:.2f} s",
    )
    shares = ", ".join(f"{kind} {spent / len(seconds):.2f}" for kind, spent in work.items())
    click.echo(f"    processor seconds for each round: {sum(work.values()) / len(seconds):.2f}: {shares}")


if __name__ == "__main__":
    main()

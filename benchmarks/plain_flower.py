"""Plain Flower as it comes: SuperLink, SuperNodes, its own FedAvg, and a ClientApp that imports nothing and echoes."""

import hashlib
import json
import os
import subprocess
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flwr.cli.build import build_fab_from_disk
from processor_time import processor_seconds

from fedsurg.flower_programs import flower_program
from server.control import Control
from server.superlink import environment
from simulations.loopback import free_ports, wait_for

UP_S, FINISH_S, DOWN_S = 60.0, 1800.0, 60.0


def plain_flower(folder: Path, size: int, nodes: int, count: int) -> tuple[list[float], dict[str, float]]:
    """Rounds of Flower's own FedAvg with echoing clients.

    Args:
        folder: of everything it writes.
        size: of the model, in bytes.
        nodes: how many clients.
        count: rounds.

    Returns:
        Seconds of each round; processor seconds of the run, by kind of process.
    """
    app, times = folder / "app", folder / "times"
    (app / "plain").mkdir(parents=True)
    (app / "pyproject.toml").write_text(PROJECT)
    (app / "plain" / "__init__.py").write_text("")
    (app / "plain" / "client.py").write_text(CLIENT)
    (app / "plain" / "server.py").write_text(SERVER.format(size=size, rounds=count, nodes=nodes, out=times))
    with running(folder, nodes) as (control, processes):
        before = processor_seconds(processes)
        fab = build_fab_from_disk(app)
        control.start(fab, hashlib.sha256(fab).hexdigest(), "")
        wait_for(times.exists, FINISH_S, "plain Flower does not end")
        after = processor_seconds(processes)
    found: list[float] = json.loads(times.read_text())
    return found, {kind: after[kind] - before[kind] for kind in after}


@contextmanager
def running(folder: Path, nodes: int) -> Iterator[tuple[Control, dict[str, list[int]]]]:
    """A SuperLink and its SuperNodes, all up; the process numbers by kind."""
    superlink, *ports = free_ports(1 + nodes)
    link = [flower_program("flower-superlink"), "--insecure", "--port", str(superlink)]
    node = [flower_program("flower-supernode"), "--insecure", "--superlink", f"127.0.0.1:{superlink}"]
    commands = [[*link, "--disable-runtime-dependency-installation"], *([*node, "--port", str(port)] for port in ports)]
    shared = {**os.environ, **environment(folder / "run")}
    started: list[subprocess.Popen[bytes]] = []
    with (folder / "log").open("wb") as log:
        try:
            for command in commands:
                started.append(subprocess.Popen(command, env=shared, stdout=log, stderr=log, cwd=folder))
                time.sleep(3.0)
            with Control(superlink) as control:
                wait_for(lambda: len(control.nodes()) == nodes, UP_S, "SuperNodes are not there")
                yield control, {"superlink": [started[0].pid], "supernode": [one.pid for one in started[1:]]}
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                process.wait(DOWN_S)


PROJECT = textwrap.dedent("""
    [project]
    name = "plain"
    version = "1.0.0"
    description = "echo"
    license = "Apache-2.0"
    [tool.flwr.app]
    publisher = "nobody"
    [tool.flwr.app.components]
    serverapp = "plain.server:app"
    clientapp = "plain.client:app"
    [tool.flwr.app.config]
    study = ""
""")
CLIENT = textwrap.dedent("""
    from flwr.app import Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp

    app = ClientApp()


    @app.train()
    def train(message, context):
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)
""")
SERVER = textwrap.dedent("""
    import json, time
    import numpy as np
    from flwr.app import ArrayRecord
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg

    app = ServerApp()
    begun = []


    class Timed(FedAvg):
        def configure_train(self, *words, **more):
            begun.append(time.perf_counter())
            return super().configure_train(*words, **more)


    @app.main()
    def main(grid, context):
        strategy = Timed(fraction_evaluate=0.0, min_available_nodes={nodes}, min_train_nodes={nodes})
        strategy.start(grid, ArrayRecord([np.zeros({size} // 4, np.float32)]), num_rounds={rounds})
        begun.append(time.perf_counter())
        with open("{out}", "w") as file:
            file.write(json.dumps([later - earlier for earlier, later in zip(begun, begun[1:])]))
""")

"""Each message has a process of its own, forked from one that has loaded Flower."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from site_client.processes import FORKING

# Superexec with two messages, as its own plugin hands them over; their node is not there, so their processes wait.
STUB = """
import multiprocessing, sys, time
from multiprocessing.forkserver import _forkserver
from pathlib import Path
import flwr.supercore.cli
from flwr.proto.task_pb2 import Task
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
from flwr.supercore.superexec.plugin.base_exec_plugin import BaseExecPlugin

class Plugin(BaseExecPlugin):
    supported_task_types = frozenset({"flwr-clientapp", "flwr-serverapp"})
    suppress_output = SILENT

def say(*words):
    print(*words, flush=True)

def flower_superexec():
    say("threads", len(list(Path(f"/proc/{_forkserver._forkserver_pid}/task").iterdir())))
    plugin = Plugin("127.0.0.1:1", True, None, executor=SubprocessExecutor())
    say(plugin.launch_task("secret-0", Task(task_id=1, type="flwr-serverapp")).status)
    for number in (1, 2):
        say(plugin.launch_task(f"secret-{number}", Task(task_id=number, type="flwr-clientapp")).status)
    for process in multiprocessing.active_children():
        say("message", process.pid, Path(f"/proc/{process.pid}/cmdline").read_bytes())
    time.sleep(1.5)
    BEFORE_THE_END

flwr.supercore.cli.flower_superexec = flower_superexec
if __name__ == "__main__":
    from site_client.executor import main

    main()
"""


def superexec(folder: Path, silent: bool = True, before_the_end: str = "") -> subprocess.CompletedProcess[str]:
    file = folder / "superexec.py"
    file.write_text(STUB.replace("SILENT", str(silent)).replace("BEFORE_THE_END", before_the_end))
    return subprocess.run(
        [sys.executable, file], check=False, capture_output=True, timeout=120, text=True, env={**os.environ, **FORKING}
    )


@pytest.mark.parametrize(("silent", "said"), [(False, 2), (True, 0)])
def test_a_process_for_each_message(silent: bool, said: int, tmp_path: Path, alive: Callable[[int], bool]) -> None:
    ran = superexec(tmp_path, silent)
    assert ran.returncode == 0, ran.stderr
    assert re.findall(r"^(?:accepted|failed)$", ran.stdout, re.MULTILINE) == ["failed", "accepted", "accepted"]
    assert "threads 1\n" in ran.stdout  # in the process that is forked
    started = [int(number) for number in re.findall(r"^message (\d+)", ran.stdout, re.MULTILINE)]
    assert len(set(started)) == 2
    assert not any(map(alive, started))  # they end with superexec
    assert (ran.stdout + ran.stderr).count("Start `flwr-clientapp` process") == said
    assert "secret-" not in ran.stdout + ran.stderr  # neither in the log nor in a command line


def test_a_process_that_cannot_fork_any_more_ends(tmp_path: Path) -> None:
    """The supervisor then starts the next one, with a socket of its own."""
    gone = (
        "Path(_forkserver._forkserver_address).unlink(); "
        "plugin.launch_task('secret-3', Task(task_id=3, type='flwr-clientapp'))"
    )
    ran = superexec(tmp_path, before_the_end=gone)
    assert ran.returncode == 1
    assert ran.stderr.startswith("no process can be forked (FileNotFoundError: ")

"""Each message has a process of its own, forked from one that has loaded Flower."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

# Superexec with two messages; the node that they are of is not there, so their processes wait for it.
STUB = """
import multiprocessing, sys, time
import flwr.supercore.cli
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
from flwr.supercore.superexec.executor.types import ExecutionSpec

def flower_superexec():
    for number in (1, 2):
        spec = ExecutionSpec(
            task_type="flwr-clientapp", runtime_api_address="127.0.0.1:1", token=f"token-{number}", insecure=True,
            root_certificates_path=None, runtime_dependency_install=False, parent_pid=None,
            suppress_output=SILENT, task_id=number,
        )
        print(SubprocessExecutor().launch(spec).status, flush=True)
    print("alive", len(multiprocessing.active_children()), flush=True)
    time.sleep(1.5)

flwr.supercore.cli.flower_superexec = flower_superexec
if __name__ == "__main__":
    from site_client.executor import main

    main()
"""


@pytest.mark.parametrize(("silent", "said"), [(False, 2), (True, 0)])
def test_a_process_for_each_message(silent: bool, said: int, tmp_path: Path) -> None:
    (file := tmp_path / "superexec.py").write_text(STUB.replace("SILENT", str(silent)))
    ran = subprocess.run([sys.executable, file], check=False, capture_output=True, timeout=120, text=True)
    assert ran.returncode == 0, ran.stderr
    assert re.findall(r"^accepted$", ran.stdout, re.MULTILINE) == ["accepted"] * 2
    assert "alive 2" in ran.stdout
    assert (ran.stdout + ran.stderr).count("Start `flwr-clientapp` process") == said
    assert "token" not in ran.stdout

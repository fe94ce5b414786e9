"""Flower's node ends where Flower alone would live on and do nothing."""

import subprocess
import sys

import pytest

# A SuperNode whose runtime server is a thread that never ends, as Flower's is; `{end}` is what the main thread does.
STUB = """
import threading, time
import flwr.supernode.cli
def flower_supernode():
    threading.Thread(target=time.sleep, args=(600,)).start()
    {end}
flwr.supernode.cli.flower_supernode = flower_supernode
from site_client.node import main
main()
"""


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("pass", ""),
        ("threading.Thread(target=lambda: 1 / 0).start(); time.sleep(600)", "ZeroDivisionError"),
    ],
    ids=["given up", "a thread broke off"],
)
def test_a_node_of_no_use_ends(end: str, said: str) -> None:
    ran = subprocess.run([sys.executable, "-c", STUB.format(end=end)], check=False, capture_output=True, timeout=120)
    assert ran.returncode == 1
    assert said in ran.stderr.decode()

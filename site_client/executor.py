"""Flower's superexec as a process that forks ClientApps: `python -m site_client.executor`, and its options.

Flower starts a program for every message, and each loads Flower anew: a second of processor time before it does
anything. Here every message still has a process of its own, forked from one that has loaded this module and nothing
else (`forkserver` of the standard library): no thread may begin in it.
"""

import multiprocessing
import os
import sys
from multiprocessing import forkserver

import grpc  # noqa: F401  # the bundle needs it
from flwr.supercore.cli import flower_superexec
from flwr.supercore.constant import TaskType
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResult
from flwr.supernode.cli.flwr_clientapp import flwr_clientapp

from site_client.node import OF_NO_USE


def main() -> None:
    """Run superexec. SIGTERM ends it as Flower does, with exit code 0, and at once what it has forked."""
    multiprocessing.set_forkserver_preload(["site_client.executor"])
    forkserver.ensure_running()
    SubprocessExecutor.launch = launch  # type: ignore[assignment, method-assign]
    try:
        flower_superexec()
    finally:
        end_all()


def end_all() -> None:
    """End what was forked at once, with no chance to say so: the node then says that the app crashed."""
    for process in multiprocessing.active_children():
        process.kill()


def launch(_executor: SubprocessExecutor, spec: ExecutionSpec) -> LaunchResult:
    """Fork the process of one message, in place of `SubprocessExecutor.launch`."""
    if spec.task_type != TaskType.CLIENT_APP:
        return LaunchResult.failed(f"{spec.task_type} does not run at a hospital")
    words = ["--runtime-api-address", spec.runtime_api_address, "--token", spec.token]
    words += ["--insecure"] if spec.insecure else []
    words += ["--root-certificates", spec.root_certificates_path] if spec.root_certificates_path else []
    words += ["--parent-pid", str(spec.parent_pid)] if spec.parent_pid else []
    process = multiprocessing.get_context("forkserver").Process(
        target=client_app, args=(words, spec.suppress_output), daemon=True
    )
    try:
        process.start()
    except (OSError, EOFError) as problem:  # such as a socket that was tidied away: it does not come back by itself
        sys.stderr.write(f"no process can be forked ({type(problem).__name__}: {problem}); superexec begins anew\n")
        end_all()
        os._exit(OF_NO_USE)
    return LaunchResult.accepted()


def client_app(words: list[str], silent: bool) -> None:
    """Run `flwr-clientapp` in this process.

    Args:
        words: its options.
        silent: what it prints goes nowhere.
    """
    if silent:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout.fileno(), sys.stderr.fileno()):
            os.dup2(nowhere, stream)
    sys.argv = ["flwr-clientapp", *words]
    flwr_clientapp()


if __name__ == "__main__":
    main()

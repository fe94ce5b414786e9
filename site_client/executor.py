"""Flower's superexec as a process that forks ClientApps: `python -m site_client.executor`, and its options.

Flower starts a program for every message, and each loads Flower anew: a second of processor time before it does
anything. Here every message still has a process of its own, forked from one that has loaded this module: no thread may
begin in it.
"""

import multiprocessing
import os
import sys
from multiprocessing import forkserver

import grpc  # noqa: F401  # the bundle needs it
from flwr.supercore.cli import flower_superexec
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResult
from flwr.supernode.cli.flwr_clientapp import flwr_clientapp


def main() -> None:
    """Run superexec. SIGTERM ends it as Flower does, with exit code 0."""
    multiprocessing.set_forkserver_preload(["site_client.executor"])
    forkserver.ensure_running()
    SubprocessExecutor.launch = _launch  # type: ignore[assignment, method-assign]
    flower_superexec()


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


def _launch(_executor: SubprocessExecutor, spec: ExecutionSpec) -> LaunchResult:
    """Fork the process of one message."""
    words = ["--runtime-api-address", spec.runtime_api_address, "--token", spec.token]
    words += ["--insecure"] if spec.insecure else []
    words += ["--root-certificates", spec.root_certificates_path] if spec.root_certificates_path else []
    words += ["--parent-pid", str(spec.parent_pid)] if spec.parent_pid else []
    # A daemon ends with superexec, as the site is stopped.
    process = multiprocessing.get_context("forkserver").Process(
        target=client_app, args=(words, spec.suppress_output), daemon=True
    )
    try:
        process.start()
    except (OSError, EOFError) as problem:
        return LaunchResult.failed(f"{type(problem).__name__}: {problem}")
    return LaunchResult.accepted()


if __name__ == "__main__":
    main()

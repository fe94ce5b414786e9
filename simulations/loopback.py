"""A coordinator and hospitals as real processes on this machine: for tests, faults and benchmarks of the deployed form.

Everything is done by the commands that people type, each end in a folder of its own; the two ends exchange nothing but
the files of joining and what goes over the network on 127.0.0.1.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from fedsurg.errors import FederationError

COMMAND = (sys.executable, "-m", "fedsurg")
UP_S, DOWN_S = 120.0, 30.0  # to start all processes of an end on a busy machine; to stop them


class Loopback:
    """One coordinator and some hospitals.

    Args:
        folder: of everything; the caller removes it.
        sites: folder of each hospital's data by name.
        policy: text of each hospital's policy.toml.
        environment: of all processes, beside this process's own.
    """

    def __init__(
        self, folder: Path, sites: Mapping[str, Path], policy: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder, self.sites, self._policy = folder, dict(sites), policy
        self.coordinator = folder / "coordinator"
        self._environment = {**os.environ, **(environment or {})}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_problem: object) -> None:
        self.stop()

    def site(self, name: str) -> Path:
        """Folder of a hospital."""
        return self.folder / "hospitals" / name

    def join(self) -> None:
        """Make the federation, and let every hospital join it by files."""
        gateway, superlink, metrics = free_ports(3)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.command("server", "init", "--host", "127.0.0.1", "--port", str(gateway), "--dir", self.coordinator)
        settings = self.coordinator / "federation.toml"
        ports = f"\n[ports]\nsuperlink = {superlink}\nmetrics = {metrics}\n"
        settings.write_text(without_table(settings.read_text("utf-8"), "ports") + ports, "utf-8")
        for name, data in self.sites.items():
            self.join_site(name, data)

    def join_site(self, name: str, data: Path) -> None:
        """Invite, enrol, admit and join one hospital; make its vault and its policy."""
        self.sites[name] = data
        site, post = self.site(name), self.folder / "post"
        post.mkdir(exist_ok=True)
        site.parent.mkdir(exist_ok=True)
        invitation, request, admission = (post / f"{name}.{kind}" for kind in ("invite", "request", "admission"))
        self.command("server", "invite", name, "--out", invitation, "--dir", self.coordinator)
        self.command("site", "enrol", invitation, "--data", data, "--dir", site, "--out", request)
        self.command("server", "admit", request, "--out", admission, "--dir", self.coordinator)
        self.command("site", "join", admission, "--dir", site)
        self.command("site", "vault", "init", "--dir", site)
        if self._policy:
            (site / "policy.toml").write_text(self._policy, "utf-8")

    def approve(self, study: Path, *names: str) -> None:
        """Approve a study at the hospitals, by default at all."""
        for name in names or self.sites:
            self.command("site", "approve", study, "--dir", self.site(name), "--approver", "a person")

    def start(self, *names: str) -> None:
        """Start the coordinator and the hospitals, by default all, and wait until every process is up."""
        self.start_coordinator()
        for name in names or self.sites:
            self.start_site(name, wait=False)
        for name in names or self.sites:
            self.wait_up(name)

    def start_coordinator(self, *, wait: bool = True) -> None:
        """`fedsurg server start`."""
        self._start("coordinator", "server", "start", "--dir", self.coordinator)
        if wait:
            self.wait_up("coordinator")

    def start_site(self, name: str, *, wait: bool = True) -> None:
        """`fedsurg site start`."""
        self._start(name, "site", "start", "--dir", self.site(name))
        if wait:
            self.wait_up(name)

    def run(self, study: Path, *options: str, timeout_s: float = 600.0) -> subprocess.CompletedProcess[str]:
        """`fedsurg server run`, to the end of the run."""
        return self.command(
            "server", "run", study, "--dir", self.coordinator, *options, check=False, timeout_s=timeout_s
        )

    def run_folder(self, digest: str) -> Path:
        """The coordinator's folder of a run, once there is one."""
        (found,) = (self.coordinator / "runs").glob(f"*-{digest[:12]}")
        return found

    def processes(self, end: str) -> dict[str, dict[str, Any]]:
        """The supervised processes of `coordinator` or of a hospital, by name: pid, state, restarts."""
        try:
            text = (self.home(end) / "run" / "status.json").read_text("utf-8")
        except FileNotFoundError:
            return {}
        found: dict[str, dict[str, Any]] = json.loads(text)
        return found

    def home(self, end: str) -> Path:
        """Folder of `coordinator` or of a hospital."""
        return self.coordinator if end == "coordinator" else self.site(end)

    def kill(self, end: str, process: str = "") -> None:
        """`kill -9` of one supervised process, or of the supervisor itself."""
        os.kill(self.processes(end)[process]["pid"] if process else self.pid(end), signal.SIGKILL)

    def pid(self, end: str) -> int:
        """Process number of an end's supervisor."""
        return self._running[end].pid

    def wait_up(self, end: str, timeout_s: float = UP_S) -> None:
        """Wait until all processes of an end run.

        Raises:
            FederationError: the supervisor ended, or the time is over.
        """

        def up() -> bool:
            if self._running[end].poll() is not None:
                raise FederationError(f"{end}: ended with {self._running[end].returncode}: {self.output(end)[-2000:]}")
            states = [one["state"] for one in self.processes(end).values()]
            return bool(states) and all(state == "running" for state in states)

        wait_for(up, timeout_s, f"{end}: not up")

    def stop_end(self, end: str) -> int:
        """Stop an end as a person would, with SIGTERM; its exit code."""
        process = self._running.pop(end)
        if process.poll() is None:
            process.terminate()
        try:
            return process.wait(DOWN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def stop(self) -> None:
        """Stop everything that runs."""
        for end in list(self._running):
            self.stop_end(end)

    def output(self, end: str) -> str:
        """What an end's supervisor has printed."""
        return (self.folder / f"{end}.out").read_text("utf-8", errors="replace")

    def command(self, *words: object, check: bool = True, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run one command to its end.

        Raises:
            FederationError: it failed and `check` is set.
        """
        done = subprocess.run(
            [*COMMAND, *map(str, words)],
            capture_output=True,
            text=True,
            env=self._environment,
            timeout=timeout_s,
            check=False,
            cwd=self.folder,
        )
        if check and done.returncode:
            line = " ".join(map(str, words))
            raise FederationError(f"fedsurg {line}: ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
        return done

    def _start(self, end: str, *words: object) -> None:
        with (self.folder / f"{end}.out").open("ab") as out:
            self._running[end] = subprocess.Popen(
                [*COMMAND, *map(str, words)],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env=self._environment,
                cwd=self.folder,
            )


def wait_for(happened: Callable[[], bool], timeout_s: float, what: str, every_s: float = 0.1) -> float:
    """Wait until something has happened; how long it took, in seconds.

    Raises:
        FederationError: `what`, after `timeout_s`.
    """
    started = time.monotonic()
    while not happened():
        if time.monotonic() - started > timeout_s:
            raise FederationError(f"{what} within {timeout_s:g} s")
        time.sleep(every_s)
    return time.monotonic() - started


def free_ports(count: int) -> Sequence[int]:
    """Ports of 127.0.0.1 that nobody listens on at the moment."""
    taken = [socket.socket() for _ in range(count)]
    try:
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]
    finally:
        for one in taken:
            one.close()


def without_table(text: str, name: str) -> str:
    """A TOML text without the table `name`."""
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        if line.startswith("["):
            inside = line.strip() == f"[{name}]"
        kept += [] if inside else [line]
    return "".join(kept)

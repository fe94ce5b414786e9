"""Following a run until it ends: a bar and a line per site on a terminal, plain lines when there is none."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from fedsurg.errors import SupervisionError
from server.runs import GOING, RunFolder, Status

LOOK_S = 0.5
GONE_S = 15.0  # a coordinator that is started again is not gone


class Display:
    """Shows how far video and rounds are; use as a context manager.

    Args:
        console: where to.
        as_json: print the record of each finished round and the last status as JSON lines, and nothing else.
    """

    def __init__(self, console: Console, as_json: bool) -> None:
        self._console, self._as_json = console, as_json
        shown = console.is_terminal and not as_json
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Bars(*columns, TextColumn("{task.fields[note]}"), console=console, disable=not shown)
        self._tasks: dict[str, Any] = {}
        self._shown = shown
        self._rounds = -1

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._bars.stop()

    def say(self, line: str) -> None:
        """One line for the person."""
        if not self._as_json:
            self._console.print(line, highlight=False, soft_wrap=True)

    def progress(self, what: str, done: int, total: int) -> None:
        """Something has come to `done` of `total`."""
        self._advance(what, done, total, "")

    def status(self, run: RunFolder, status: Status) -> None:
        """Show where the run stands."""
        note = ", ".join(f"{name} {site.get('doing', '')}" for name, site in status.sites.items()) or status.state
        self._advance(status.name, status.round, status.rounds, note)
        records = _records(run)
        if self._rounds < 0:
            self._rounds = len(records)
        for record in records[self._rounds :]:
            self._record(status, record)
        self._rounds = len(records)

    def _record(self, status: Status, record: dict[str, Any]) -> None:
        if self._as_json:
            self._console.print(json.dumps(record), highlight=False, soft_wrap=True, markup=False)
            return
        known = [site["received"]["iou"] for site in record["sites"].values() if site["received"]["iou"] is not None]
        score = f", mean IoU {sum(known) / len(known):.3f}" if known else ""
        what = f"round {record['round']} of {status.rounds}" if record["work"] == "train" else "model delivered"
        self.say(f"{what}: {len(record['sites'])} sites{score}")
        for name, why in record["refused"].items():
            self.say(f"    {name} refused: {why}")

    def _advance(self, what: str, done: int, total: int, note: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, note=note)
        self._bars.update(self._tasks[what], completed=done, total=total, note=note)


def follow(run: RunFolder, display: Display, started: Callable[[], bool]) -> Status:
    """Show the run until it is finished, failed or paused; its last status.

    Args:
        run: to be followed.
        display: shows it.
        started: the coordinator's processes run.

    Raises:
        SupervisionError: they were stopped.
    """
    gone_since: float | None = None
    while True:
        status = run.status()
        display.status(run, status)
        if status.state not in GOING:
            return status
        gone_since = None if started() else gone_since or time.monotonic()
        if gone_since and time.monotonic() - gone_since > GONE_S:
            raise SupervisionError(
                f"{status.name}: fedsurg server start was stopped after round {status.round}; the run goes on with the "
                "next start"
            )
        time.sleep(LOOK_S)


def last_line(run: RunFolder, status: Status, as_json: bool) -> str:
    """What is said at the end."""
    if as_json:
        return json.dumps(asdict(status) | {"folder": str(run.path)})
    if status.state == "finished":
        return f"{status.name}: finished; the shared model is {run.path / 'global.safetensors'}"
    return f"{status.name}: paused after round {status.round}; fedsurg server run with the same study goes on"


def _records(run: RunFolder) -> list[dict[str, Any]]:
    try:
        whole, _, _ = (run.path / "history.jsonl").read_text("utf-8").rpartition("\n")
    except OSError:
        return []
    return [json.loads(line) for line in whole.split("\n") if line]

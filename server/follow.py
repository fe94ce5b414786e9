"""Following a run until it ends: a bar and a line per site on a terminal, plain lines when there is none."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict

from rich.console import Console

from fedsurg.cli.bars import Bars
from fedsurg.errors import SupervisionError
from fedsurg.report.reading import read_rounds
from fedsurg.report.records import Round
from fedsurg.report.wording import plural
from server.runs import GOING, RunFolder, Status

LOOK_S = 0.5
GONE_S = 15.0  # a coordinator that is started again is not gone


class Display(Bars):
    """Shows how far video and rounds are; use as a context manager.

    Args:
        console: where to.
        as_json: print the record of each finished round and the last status as JSON lines, and nothing else.
    """

    def __init__(self, console: Console, as_json: bool) -> None:
        super().__init__(console, console.is_terminal and not as_json)
        self._console, self._as_json = console, as_json
        self._rounds = -1

    def say(self, line: str) -> None:
        """One line for the person."""
        if not self._as_json:
            self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def status(self, run: RunFolder, status: Status) -> None:
        """Show where the run stands."""
        note = ", ".join(f"{name} {site.get('doing', '')}" for name, site in status.sites.items()) or status.state
        self.advance(status.name, status.round, status.rounds, note)
        finished = read_rounds(run.path / "history.jsonl")
        if self._rounds < 0:
            self._rounds = len(finished)
        for record in finished[self._rounds :]:
            self._record(status, record)
        self._rounds = len(finished)

    def _record(self, status: Status, record: Round) -> None:
        if self._as_json:
            self._console.print(record.model_dump_json(), highlight=False, soft_wrap=True, markup=False)
            return
        scores = [site.received["iou"] for site in record.sites.values() if site.received]
        known = [score for score in scores if score is not None]
        score = f", mean IoU {sum(known) / len(known):.3f}" if known else ""
        what = f"round {record.round} of {status.rounds}" if record.work == "train" else "model delivered"
        self.say(f"{what}: {plural(len(record.sites), 'site')}{score}")
        for name, why in record.refused.items():
            self.say(f"    {name} refused: {why}")


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

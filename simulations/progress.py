"""Progress of a run: bars with time left on a terminal, plain lines when there is none."""

import time
from typing import Any

from rich.console import Console
from rich.progress import TimeRemainingColumn

from fedsurg.cli.bars import Bars

LINE_EVERY_S = 10.0  # at most one plain line in this time for a step that counts quickly
MANY_JOBS = 12  # more than these would fill the terminal: then those at work are shown, and how many are done
ALL_JOBS = "all jobs"


class Progress(Bars):
    """Shows preparation and rounds; use as a context manager."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, console.is_terminal, TimeRemainingColumn())
        self._console = console
        self._said: dict[str, float] = {}

    def say(self, line: str) -> None:
        """One line for the person."""
        self._console.print(line, highlight=False, markup=False)

    def preparing(self, what: str, done: int, total: int) -> None:
        """Something that all jobs share has come to `done` of `total`."""
        self.advance(what, done, total)
        now = time.monotonic()
        if not self._console.is_terminal and (done == total or now - self._said.get(what, 0.0) > LINE_EVERY_S):
            self._said[what] = now
            self.say(f"{what}: {done} of {total}")

    def start_jobs(self, names: list[str], rounds: int) -> None:
        """All jobs that will run, `rounds` each (the last one delivers the final model)."""
        self._rounds, self._many, self._scored, self._jobs = rounds, len(names) > MANY_JOBS, 0, len(names)
        if self._many:
            self.advance(ALL_JOBS, 0, len(names))
        for name in names:
            self.advance(name, 0, rounds, visible=not self._many)

    def round_done(self, job: str, record: dict[str, Any]) -> None:
        """A job has finished a round."""
        known = [site["received"]["iou"] for site in record["sites"].values() if site["received"]["iou"] is not None]
        note = f"IoU {sum(known) / len(known):.3f}" if known else ""
        if record["refused"]:
            note += f" ({len(record['refused'])} refused)"
        self.advance(job, record["round"], self._rounds, note)
        if not self._console.is_terminal:
            self.say(f"{job}: round {record['round']} of {self._rounds} {note}".rstrip())

    def finish_job(self, job: str) -> None:
        """A job is scored."""
        self._scored += 1
        self.advance(job, self._rounds, self._rounds, visible=not self._many)
        if self._many:
            self.advance(ALL_JOBS, self._scored, self._jobs)
        if not self._console.is_terminal:
            self.say(f"{job}: scored" + (f" ({self._scored} of {self._jobs})" if self._many else ""))

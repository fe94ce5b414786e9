"""Named bars on a terminal, one per thing that goes on; nothing is drawn where there is none."""

from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn


class Bars:
    """Bars with a note behind each; use as a context manager.

    Args:
        console: where to.
        shown: draw them.
        more: columns before the note.
    """

    def __init__(self, console: Console, shown: bool, *more: ProgressColumn) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), *more)
        self._bars = Progress(*columns, TextColumn("{task.fields[note]}"), console=console, disable=not shown)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._bars.stop()

    def advance(self, what: str, done: int, total: int, note: str | None = None, *, visible: bool = True) -> None:
        """`what` has come to `done` of `total`; its bar begins with the first call, a note stays until the next."""
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, note="")
        noted: dict[str, Any] = {} if note is None else {"note": note}
        self._bars.update(self._tasks[what], completed=done, total=total, visible=visible, **noted)

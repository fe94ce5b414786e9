"""What a finished job leaves behind, to be known as finished: `done.json` beside its scores."""

import json
from pathlib import Path
from typing import Any

from fedsurg.errors import RunError

DONE = "done.json"
SCORES_FILE = "scores.csv"


def finished(folder: Path) -> dict[str, Any]:
    """What the job whose folder this is left in `done.json`: `digest`, `start`, and seconds.

    Raises:
        RunError: it is damaged.
    """
    file = folder / DONE
    try:
        facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return facts | {"digest": str(facts["digest"]), "start": str(facts["start"])}
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(f"{file}: is damaged ({problem}); delete its folder and go on with --resume") from problem

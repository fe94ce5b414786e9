"""What the folder of a comparison is made of, and the file that says what it was made with."""

import json
from pathlib import Path
from typing import Any

from fedsurg.errors import RunError

RECORD = "compare.json"
CELLS = "cells"

Record = dict[str, Any]
_KINDS = {"study": dict, "digest": str, "methods": list, "ablate": bool, "seeds": int, "reference": str}
_MAY_LACK = {"commands": list, "trained": list, "machine": dict, "versions": dict, "jobs": int, "started": str}


def read_record(folder: Path) -> Record:
    """What a comparison was made with; what its file may lack is there, and empty.

    Raises:
        RunError: the folder holds no comparison, or its record is damaged.
    """
    try:
        found: Record = {key: kind() for key, kind in _MAY_LACK.items()}
        found |= json.loads((folder / RECORD).read_text(encoding="utf-8"))
        for key, kind in (_KINDS | _MAY_LACK).items():
            if not isinstance(found[key], kind):
                raise TypeError(f"{key} is {found[key]!r}"[:80])
        return found
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(f"{folder}: holds no comparison ({problem}); give the --out of fedsurg compare") from problem

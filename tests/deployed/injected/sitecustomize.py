"""Faults from inside: first on the path of processes that are to suffer them; each happens while its file exists.

In the folder FEDSURG_FAULTS: `kill-before-checkpoint` (once) ends the process just before the checkpoint takes its
name; `full-NAME` makes the disk full for whatever lies below a folder called NAME.
"""

import errno
import os
import signal
from pathlib import Path
from typing import Any

_faults = os.environ.get("FEDSURG_FAULTS")


def _full(handle: int) -> bool:
    try:
        parts = Path(f"/proc/self/fd/{handle}").readlink().parts
    except OSError:
        return False
    return any((Path(_faults or "") / f"full-{part}").exists() for part in parts)


if _faults:
    _replace, _fsync = os.replace, os.fsync

    def replace(source: Any, target: Any, **options: Any) -> None:
        """`os.replace`, which may be the last thing a process wanted to do."""
        order = Path(_faults or "") / "kill-before-checkpoint"
        if Path(target).name == "checkpoint.safetensors" and order.exists():
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        _replace(source, target, **options)

    def fsync(handle: Any) -> None:
        """`os.fsync`, where a full disk shows itself."""
        if _full(handle if isinstance(handle, int) else handle.fileno()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _fsync(handle)

    os.replace, os.fsync = replace, fsync

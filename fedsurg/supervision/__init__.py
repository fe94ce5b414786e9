"""Child processes that are started, watched, restarted and stopped together.

Both ends of a deployed federation use it: `Supervisor` runs the children of one folder, `read_processes` tells how they
are, `stop` ends them from another process.
"""

from fedsurg.supervision.child import Child
from fedsurg.supervision.lock import await_leftovers, left_behind, stop, supervisor_of
from fedsurg.supervision.ready import file_there, port_open, require_free_port
from fedsurg.supervision.status import Process, all_run, read_processes
from fedsurg.supervision.supervisor import Supervisor

__all__ = [
    "Child",
    "Process",
    "Supervisor",
    "all_run",
    "await_leftovers",
    "file_there",
    "left_behind",
    "port_open",
    "read_processes",
    "require_free_port",
    "stop",
    "supervisor_of",
]

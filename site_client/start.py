"""`fedsurg site start`: look whether the site can run at all, then keep its processes running."""

from collections.abc import Callable
from pathlib import Path

from fedsurg.errors import SupervisionError
from fedsurg.joining.clock import now
from fedsurg.supervision import Supervisor, supervisor_of
from site_client.doctor import folder as checks
from site_client.doctor.data import data_folder
from site_client.doctor.finding import Site, ToDoError
from site_client.layout import CONNECTION, PROGRESS, RUN
from site_client.processes import children_of, free_ports
from site_client.site_folder import Membership, read_identity, read_membership
from site_client.status import open_approvals

Say = Callable[[str], None]


def start_site(folder: Path, say: Say) -> None:
    """Run until Ctrl-C, SIGTERM or `stop`.

    Args:
        folder: of the site.
        say: takes a line for the person.

    Raises:
        FedsurgError: the site cannot run: what is wrong and what to do.
        SupervisionError: it runs already.
    """
    membership = require_ready(folder)
    run = folder / RUN
    running = supervisor_of(run)
    if running:
        raise SupervisionError(f"{folder}: runs already (process {running}); fedsurg site status shows how")
    run.mkdir(mode=0o700, exist_ok=True)
    for said in (PROGRESS, CONNECTION):
        (folder / said).unlink(missing_ok=True)  # of the start before
    children = children_of(folder, free_ports())
    say(f"{membership.site}: starting {', '.join(child.name for child in children)}; logs in {run / 'logs'}")
    try:
        data_folder(Site(folder, membership, now()))
    except ToDoError as problem:  # no reason to stop: a share may come back
        say(f"note: {problem}; until then every round fails here")

    def all_up() -> None:
        say(f"{membership.site}: all run; {_approved(folder)}")
        say(f"waiting for studies from {membership.address}; Ctrl-C stops, fedsurg site status shows more")

    Supervisor(run, children, say, all_up).run()
    say(f"{membership.site}: stopped")


def require_ready(folder: Path) -> Membership:
    """What no restart could mend is in order: certificate, permissions, vault, log, approvals and socket path.

    Raises:
        FedsurgError: the first thing that is not.
    """
    membership = read_membership(folder)
    site = Site(folder, membership, now())
    read_identity(folder, membership.site, site.now)
    for check in (checks.modes, checks.socket, checks.vault, checks.audit_log):
        check(site)
    open_approvals(folder)
    return membership


def _approved(folder: Path) -> str:
    names = [approval.name for approval in open_approvals(folder)]
    return f"approved: {', '.join(names)}" if names else "no study is approved, every request is refused"

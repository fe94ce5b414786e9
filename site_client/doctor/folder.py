"""The site's folder: who may read it, and whether what lies in it can be used."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from fedsurg.errors import ExposedError
from fedsurg.joining.clock import day
from fedsurg.joining.folders import require_owner_only
from fedsurg.report.wording import plural
from site_client.doctor.finding import Site, ToDoError
from site_client.layout import MAX_SOCKET_PATH, PENDING, RUN, VAULT, WORKER_SOCKET
from site_client.site_folder import read_identity, site_log


def modes(site: Site) -> str:
    """No one but the account that runs the site may read the keys, the vault and the log."""
    private = [path for path in _private(site.folder) if path.exists()]
    for path in private:
        require_owner_only(path)
        if path.stat().st_uid != os.geteuid():
            raise ExposedError(f"{path}: belongs to another account; run chown -R to the account that runs the site")
    return f"closed to other accounts, {len(private)} private files and folders"


def certificate(site: Site) -> str:
    """The site has joined, its certificate is good, and it is not yet time to renew."""
    name = site.membership.site
    identity = read_identity(site.folder, name, site.now)
    ends, renew = identity.certificate.not_valid_after_utc, site.membership.renew_from
    waits = (site.folder / PENDING).exists()
    if renew and site.now >= renew:
        advice = "give its admission to fedsurg site join" if waits else "run fedsurg site renew"
        raise ToDoError(f"ends at {day(ends)}, in {_days(ends - site.now)}; {advice}")
    return f"until {day(ends)}, renew from {day(renew)} on" if renew else f"until {day(ends)}"


def vault(site: Site) -> str:
    """The vault opens with the key that the site will use when it starts."""
    from site_client.vault import open_vault
    from site_client.vault_key import secret_of

    opened = open_vault(site.folder / VAULT, site_log(site.folder), secret_of(None, None))
    return f"opens, {plural(len(opened.studies()), 'study')} in it"


def audit_log(site: Site) -> str:
    """The newest line is whole; `fedsurg site audit verify` reads them all."""
    head = site_log(site.folder).head()
    return f"{plural(head.sequence, 'line')}, the last one whole"


def approvals(site: Site) -> str:
    """Approvals and policy can be read, and no approval waits for a person."""
    from site_client.approvals import Approvals
    from site_client.policy import read_policy

    known, config = Approvals(site.folder), read_policy(site.folder)
    states = {one: one.state(today=known.today, two_approvers=config.two_approvers) for one in known.all()}
    for one, state in states.items():
        if state.startswith("waits"):
            raise ToDoError(f"{one.name} ({one.study[:12]}) {state}: fedsurg site approve with --second-approver")
    opened = [f"{one.name} until {one.expires}" for one, state in states.items() if state == "approved"]
    return f"open: {', '.join(opened)}" if opened else "none open; every request is refused until you approve a study"


def socket(site: Site) -> str:
    """The path of the worker's socket is one that the system takes."""
    path = os.fsencode((site.folder / WORKER_SOCKET).absolute())
    excess = len(path) - MAX_SOCKET_PATH
    if excess > 0:
        raise ToDoError(
            f"{site.folder.absolute()}: its path is {excess} bytes too long for a Unix socket below it; move the "
            "folder to a shorter one, such as /srv/fedsurg/site"
        )
    return f"path of {len(path)} bytes, {MAX_SOCKET_PATH} are allowed"


def leftovers(site: Site) -> str:
    """No process is left of a start that was killed."""
    from fedsurg.supervision import left_behind, supervisor_of

    run = site.folder / RUN
    running = supervisor_of(run)
    if running:
        return f"none; the site runs, process {running}"
    if left_behind(run):
        raise ToDoError(
            f"{run}: processes of a start that was killed still run; they end within 30 seconds, and fuser "
            f"{run / 'supervisor.lock'} names those that do not"
        )
    return "none; the site does not run"


def _private(folder: Path) -> Iterator[Path]:
    """What others must not read, where it exists."""
    yield folder
    for name in ("private", "vault", "audit", "run"):
        yield folder / name
    if (folder / "private").is_dir():
        yield from sorted((folder / "private").iterdir())


def _days(span: timedelta) -> str:
    return plural(max(0, span.days), "day")

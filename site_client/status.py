"""How a site is: its processes, what the worker does, its studies, and what has left so far."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedsurg.audit.log import FOLDER, read_events
from fedsurg.supervision import read_processes, supervisor_of
from site_client.approvals import Approval, Approvals
from site_client.layout import CONNECTION, PROGRESS, RUN
from site_client.policy import LEFT, read_policy
from site_client.site_folder import read_membership


def site_status(folder: Path) -> dict[str, Any]:
    """Everything as plain values, for `--json`.

    Raises:
        JoiningError: not a site's folder.
        PolicyError: the policy or an approval cannot be read.
        AuditError: the audit log cannot be read.
    """
    membership, processes = read_membership(folder), read_processes(folder / RUN)
    supervisor = supervisor_of(folder / RUN)
    replies: Counter[str] = Counter()
    sent: Counter[str] = Counter()
    newest: dict[str, int] = {}
    last: dict[str, Any] | None = None
    for last in read_events(folder / FOLDER):
        if last["what"] == LEFT:
            study = last["study"]
            replies[study] += 1
            sent[study] += last["bytes"]
            newest[study] = max(newest.get(study, 0), last["round"])
    return {
        "site": membership.site,
        "gateway": membership.address,
        "supervisor": supervisor,
        "processes": {name: asdict(process) for name, process in processes.items()},
        "connection": _said(folder / CONNECTION) if supervisor else None,
        "worker": _said(folder / PROGRESS) if supervisor else None,
        "studies": [
            {
                "name": approval.name,
                "study": approval.study,
                "method": approval.method,
                "state": state,
                "expires": approval.expires.isoformat(),
                "max_rounds": approval.max_rounds,
                "last_round": newest.get(approval.study, 0),
                "replies": replies[approval.study],
                "bytes_out": sent[approval.study],
            }
            for approval, state in _with_states(folder)
        ],
        "bytes_out": sent.total(),
        "last_event": last,
    }


def open_approvals(folder: Path) -> list[Approval]:
    """The studies that are approved here, today.

    Raises:
        PolicyError: the policy or an approval cannot be read.
    """
    return [approval for approval, state in _with_states(folder) if state == "approved"]


def _with_states(folder: Path) -> Iterator[tuple[Approval, str]]:
    known, config = Approvals(folder), read_policy(folder)
    for approval in known.all():
        yield approval, approval.state(today=known.today, two_approvers=config.two_approvers)


def _said(path: Path) -> dict[str, Any] | None:
    """What a process says of itself; nothing if it has not said anything yet."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None

"""How the coordinator is: processes, sites, runs. Everything is read from files, so it is quick and needs no Flower."""

from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from fedsurg.errors import FedsurgError
from fedsurg.joining.clock import shown
from fedsurg.report.wording import plural, size
from fedsurg.supervision import read_processes, supervisor_of
from server.federation_file import read_federation_file
from server.layout import RUN
from server.members import Members
from server.nodes import read_nodes
from server.runs import runs_of


def server_status(folder: Path, now: datetime) -> dict[str, Any]:
    """Everything as plain values, for `--json`.

    Raises:
        JoiningError: not a coordinator's folder, or a site's file is damaged.
    """
    settings = read_federation_file(folder)
    supervisor = supervisor_of(folder / RUN)
    nodes = read_nodes(folder) if supervisor else {}
    unknown = {"node": None, "online": False, "seen": None}
    return {
        "address": settings.address,
        "supervisor": supervisor,
        "processes": {name: asdict(process) for name, process in read_processes(folder / RUN).items()},
        "sites": {
            member.site: {"state": member.state(now)} | (nodes.get(member.site) or unknown)
            for member in Members(folder).all()
        },
        "runs": _runs(folder),
    }


def status_lines(facts: dict[str, Any]) -> list[str]:
    """The same for a person."""
    running = facts["supervisor"]
    lines = [f"gateway {facts['address']}: " + (f"started (process {running})" if running else "not started")]
    for name, process in facts["processes"].items():
        again = f", started again {plural(process['restarts'], 'time')}" if process["restarts"] else ""
        lines.append(f"  {name:<10} {process['state']} since {shown(process['since'])}{again}")
    lines.append("sites" if facts["sites"] else "sites: none; fedsurg server invite NAME")
    for name, site in facts["sites"].items():
        seen = f"last seen {shown(site['seen'])}" if site["seen"] else "not seen yet"
        lines.append(f"  {name:<16} {site['state']}, {'online' if site['online'] else 'offline'}, {seen}")
    lines.append("runs" if facts["runs"] else "runs: none; fedsurg server run STUDY.toml")
    for run in facts["runs"]:
        lines += run_lines(run)
    return lines


def run_lines(run: dict[str, Any]) -> list[str]:
    """One run for a person."""
    why = f": {run['why']}" if run["why"] else ""
    lines = [
        f"  {run['name']} ({run['study'][:12]}) {run['state']}, round {run['round']} of {run['rounds']}, "
        f"quorum {run['quorum']}, {size(run['bytes_out'])} out, {size(run['bytes_in'])} in{why}"
    ]
    for name, site in run["sites"].items():
        took = f", {site['seconds']:.1f} s" if "seconds" in site else ""
        last = (
            f"last used reply {_when(site['round'], run['rounds'])}{took}" if "round" in site else "no reply used yet"
        )
        lines.append(f"    {name:<14} {site.get('doing', ''):<9} {last}")
    return lines + [f"    refused: {name}: {reason}" for name, reason in run["refused"].items()]


def _runs(folder: Path) -> list[dict[str, Any]]:
    found = []
    for run in runs_of(folder):
        with suppress(FedsurgError):
            found.append(asdict(run.status()) | {"folder": str(run.path), "pause_wanted": run.pause_wanted})
    return found


def _when(number: int, rounds: int) -> str:
    """A round for a person; the one after the last delivers the shared model."""
    return f"in round {number}" if number <= rounds else "at the last delivery"

"""The status of a site in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from fedsurg.joining.clock import shown
from fedsurg.report.wording import plural, size

Facts = Mapping[str, Any]


def status_lines(facts: Facts) -> Iterator[str]:
    """What `site_status` found, for a person."""
    yield f"{facts['site']}, federation at {facts['gateway']}"
    yield f"running, process {facts['supervisor']}" if facts["supervisor"] else "not running; fedsurg site start"
    for name, process in facts["processes"].items():
        yield f"    {name:<11} {_process(process)}"
    if facts["supervisor"]:
        yield f"connection   {_connection(facts['connection'])}"
        yield f"working on   {_work(facts['worker'])}"
    for study in facts["studies"]:
        yield f"study        {_study(study)}"
    if not facts["studies"]:
        yield "study        none was approved here"
    yield f"sent         {size(facts['bytes_out'])} since this audit log began"
    last = facts["last_event"]
    yield f"last event   {_event(last)}" if last else "last event   none"


def _process(process: Facts) -> str:
    said = f"{process['state']} since {shown(process['since'])}"
    if process["pid"]:
        said += f", process {process['pid']}"
    if process["restarts"]:
        said += f", {plural(process['restarts'], 'restart')}, the last one after exit code {process['last_exit']}"
    return said


def _connection(connection: Facts | None) -> str:
    if not connection:
        return "nothing said yet"
    known = {"ok": "connected", "waiting": "waits for its first request"}
    said = known.get(connection["state"], str(connection["state"]))
    why = f": {connection['why']}" if connection["why"] else ""
    return f"{said}{why}, since {shown(connection['since'])}"


def _work(worker: Facts | None) -> str:
    if not worker:
        return "nothing said yet"
    if "study" not in worker:
        return f"nothing, {worker['state']}" + (f"; the request before: {worker['last']}" if worker["last"] else "")
    said = f"{worker['work']} in round {worker['round']} of study {worker['study'][:12]}"
    if "phase" in worker:
        said += f": {worker['phase']}"
        said += f", step {worker['step']} of {worker['steps']}" if worker["steps"] else ""
        said += f", {worker['seconds']:.0f} s since it came"
    return said


def _study(study: Facts) -> str:
    line = f"{study['name']} ({study['study'][:12]}), {study['method']}: {study['state']} until {study['expires']}"
    if not study["replies"]:
        return f"{line}; no reply yet"
    last, rounds = study["last_round"], study["max_rounds"]
    answered = f"round {last} of {rounds} answered last" if last <= rounds else "the last delivery answered"
    return f"{line}; {answered}, {plural(study['replies'], 'reply')}, {size(study['bytes_out'])}"


def _event(line: Facts) -> str:
    said = f"{line['sequence']}, {shown(line['time'])}: {line['what']}"
    if line["study"]:
        said += f", study {line['study'][:12]}"
    if line["round"]:
        said += f", round {line['round']}"
    return said + (f": {line['why']}" if line["why"] else "")

"""What the status says, from files alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedsurg.audit.log import Event
from fedsurg.supervision import all_run
from site_client.approvals import Approvals
from site_client.layout import RUN
from site_client.policy import LEFT
from site_client.site_folder import site_log
from site_client.status import open_approvals, site_status
from site_client.status_text import status_lines

WORK = {"state": "working", "study": "3f9a01c2" * 8, "round": 3, "work": "train", "last": ""}


@pytest.fixture
def study(folder: Path, tiny_study: Callable[..., Any]) -> str:
    """The digest of a study that is approved and was answered twice, 1,500 bytes each time."""
    approval = Approvals(folder).approve(tiny_study(), "fedst", "0" * 64, "A. Keller", max_rounds=2)
    for number in (1, 2):
        site_log(folder).append(Event(LEFT, approval.study, number, "0" * 64, 1500))
    return approval.study


def test_a_site_that_never_ran(folder: Path) -> None:
    facts = site_status(folder)
    assert not all_run(facts)
    assert (facts["supervisor"], facts["processes"], facts["worker"], facts["studies"]) == (None, {}, None, [])
    lines = list(status_lines(facts))
    assert lines[1] == "not running; fedsurg site start"
    assert "study        none was approved here" in lines
    assert lines[-1].startswith("last event   3, ")
    assert lines[-1].endswith(": vault made")


def test_what_left_is_counted_by_study(folder: Path, study: str) -> None:
    facts = site_status(folder)
    assert json.loads(json.dumps(facts)) == facts
    (found,) = facts["studies"]
    assert (found["study"], found["state"], found["last_round"], found["replies"]) == (study, "approved", 2, 2)
    assert (found["bytes_out"], facts["bytes_out"]) == (3000, 3000)
    assert any("round 2 of 2 answered last, 2 replies, 3.00 kB" in line for line in status_lines(facts))
    assert [one.study for one in open_approvals(folder)] == [study]


def test_what_a_worker_said_before_it_was_stopped_does_not_count(folder: Path) -> None:
    (folder / RUN).mkdir()
    (folder / RUN / "worker.json").write_text('{"phase": "train"}')
    assert site_status(folder)["worker"] is None


def test_restarts_are_shown(folder: Path) -> None:
    process = {"pid": 7, "state": "running", "since": "2026-03-01T09:30:00+00:00", "restarts": 2, "last_exit": 137}
    facts = site_status(folder) | {"supervisor": 6, "processes": {"worker": process}}
    assert all_run(facts)
    lines = list(status_lines(facts))
    assert lines[2].endswith("process 7, 2 restarts, the last one after exit code 137")
    assert "working on   nothing said yet" in lines
    assert not all_run(facts | {"processes": {"worker": process | {"state": "pausing"}}})


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        ({"state": "idle", "last": ""}, "nothing, idle"),
        ({"state": "idle", "last": "answered"}, "nothing, idle; the request before: answered"),
        (WORK, "train in round 3 of study 3f9a01c23f9a"),
        (WORK | {"phase": "loading", "step": 0, "steps": 0, "seconds": 1.6}, ": loading, 2 s since it came"),
        (
            WORK | {"phase": "train", "step": 7, "steps": 40, "seconds": 31.2},
            ": train, step 7 of 40, 31 s since it came",
        ),
    ],
)
def test_what_the_worker_does(folder: Path, worker: dict[str, Any], said: str) -> None:
    facts = site_status(folder) | {"supervisor": 6, "worker": worker}
    (line,) = (line for line in status_lines(facts) if line.startswith("working on   "))
    assert line.endswith(said)


def test_how_the_connection_does(folder: Path) -> None:
    refused = {"state": "refused", "why": "nobody listens there", "since": "2026-03-01T09:30:00Z"}
    facts = site_status(folder) | {"supervisor": 6, "connection": refused}
    assert "connection   refused: nobody listens there, since 2026-03-01 09:30:00 UTC" in list(status_lines(facts))
    fine = facts | {"connection": {"state": "ok", "why": "", "since": "2026-03-01T09:30:00Z"}}
    assert "connection   connected, since 2026-03-01 09:30:00 UTC" in list(status_lines(fine))

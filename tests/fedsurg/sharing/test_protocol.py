"""Requests and reports: closed tables of plain scalars."""

import math
from typing import Any

import pytest

from fedsurg.errors import ContractError
from fedsurg.sharing.protocol import Report, Request

REQUEST = {"study": "s", "contract": "c", "round": 3, "work": "train"}


def test_round_trips() -> None:
    request = Request("s", "c", 3, "finish")
    assert Request.from_facts(request.facts()) == request
    report = Report(7, train_loss=0.5, train_s=1.5)
    found = Report.from_facts(report.facts())
    assert (found.samples, found.train_loss, found.train_s) == (7, 0.5, 1.5)
    assert math.isnan(found.received_iou)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"round": "3"}, "request has fields of the wrong type"),
        ({"study": 3}, "request has fields of the wrong type"),
        ({"round": 0}, "asks for 'train' in round 0"),
        ({"work": "evaluate"}, "asks for 'evaluate' in round 3"),
        ({"shell": "ls"}, r"has unlisted \['shell'\]"),
    ],
)
def test_a_request_that_is_none(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        Request.from_facts(REQUEST | change)


def test_a_request_that_lacks_a_field() -> None:
    with pytest.raises(ContractError, match=r"request lacks \['work'\]"):
        Request.from_facts({key: value for key, value in REQUEST.items() if key != "work"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 3.0}, "samples must be an integer, got 3.0"),
        ({"samples": True}, "samples must be an integer, got True"),
        ({"train_loss": [0.1]}, "train_loss must be a number, got list"),
        ({"train_loss": "PATIENT-7"}, "train_loss must be a number, got str"),
        ({"patient_age": 61}, r"has unlisted \['patient_age'\]"),
    ],
)
def test_a_report_that_is_none(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        Report.from_facts(Report(3).facts() | change)
    with pytest.raises(ContractError) as caught:
        Report.from_facts(Report(3).facts() | change)
    assert "PATIENT" not in str(caught.value)


def test_an_empty_report() -> None:
    with pytest.raises(ContractError, match=r"report lacks \['samples'"):
        Report.from_facts({})

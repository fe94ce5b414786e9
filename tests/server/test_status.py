"""A run in words."""

from typing import Any

import pytest

from server.status import run_lines


@pytest.mark.parametrize(
    ("site", "said"),
    [
        ({}, "no reply used yet"),
        ({"doing": "asked", "round": 1, "seconds": 2.04}, "asked     last used reply in round 1, 2.0 s"),
        ({"doing": "answered", "round": 3}, "answered  last used reply at the last delivery"),
    ],
)
def test_a_site_of_a_run(site: dict[str, Any], said: str) -> None:
    run = {"name": "tiny", "study": "3f9a01c2" * 8, "state": "running", "round": 2, "rounds": 2, "quorum": 1}
    facts = run | {"bytes_out": 0, "bytes_in": 0, "why": "", "refused": {}, "sites": {"hospital-a": site}}
    (_, line) = run_lines(facts)
    assert line.endswith(said)

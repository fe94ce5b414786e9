"""Buckets, signed times and body limits, with a clock that moves by hand."""

import pytest

from fedsurg.relay import FLEET_PATHS, PUSH_OBJECT, RefusedError
from server.gateway.claims import REQUESTS
from server.gateway.limits import Allowance, Buckets, Seen, body_limits


class Hand:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_empties_and_fills() -> None:
    clock = Hand()
    buckets = Buckets(2.0, 3.0, clock)
    assert [buckets.take("a") for _ in range(5)] == [True, True, True, False, False]
    assert buckets.take("b")
    clock.now += 0.5
    assert [buckets.take("a") for _ in range(2)] == [True, False]
    clock.now += 100
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]


def test_one_large_upload_is_possible_and_the_next_request_waits() -> None:
    clock = Hand()
    allowance = Allowance(100.0, 60e6, clock)
    allowance.require_request("a")
    allowance.count_bytes("a", 90_000_000)
    with pytest.raises(RefusedError, match="a asks for more than its share") as caught:
        allowance.require_request("a")
    assert (caught.value.status, caught.value.reason) == (503, "rate")
    clock.now += 31
    allowance.require_request("a")


def test_a_signed_time_is_used_once_by_each_site_and_forgotten_when_flower_takes_it_no_more() -> None:
    clock = Hand()
    seen = Seen(310.0, clock)
    assert [seen.use("a", "t1"), seen.use("a", "t1"), seen.use("b", "t1"), seen.use("a", "t2")] == [
        True, False, True, True,
    ]  # fmt: skip
    clock.now += 311
    assert seen.use("a", "t3")
    assert list(seen._used["a"]) == ["t3"]


def test_every_path_has_a_limit_and_a_parser() -> None:
    assert set(body_limits(1 << 20)) == set(REQUESTS) == FLEET_PATHS
    assert body_limits(1 << 20)[PUSH_OBJECT] == (1 << 20) + (16 << 10)

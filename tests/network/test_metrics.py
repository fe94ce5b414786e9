"""What Prometheus reads."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp.test_utils import make_mocked_request

from fedsurg.joining.clock import now as clock_now
from fedsurg.relay import HELLO
from fedsurg.request_log import Entry
from server.gateway.metrics import Meters


def page(meters: Meters) -> dict[str, float]:
    response = asyncio.run(meters.handle(make_mocked_request("GET", "/metrics")))
    lines = bytes(response.body).decode().splitlines()  # type: ignore[arg-type]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_requests_refusals_and_bytes(tmp_path: Path) -> None:
    meters = Meters(tmp_path, lambda: datetime.now(UTC))
    for _ in range(2):
        meters.count(Entry("hospital-a", "/v1/fleet/push-object", 200, bytes_in=100, bytes_out=7))
    for reason in ("path", "revoked", "folder", "rate"):
        meters.count(Entry("hospital-a", f"/made/up/by/anybody/{reason}", 404, reason=reason))
    meters.count(Entry("", "", reason="foreign"))
    meters.watch_connections(lambda: ["hospital-a", "hospital-b", "hospital-a"])
    found = page(meters)
    assert found['fedsurg_gateway_requests_total{path="/v1/fleet/push-object",site="hospital-a",status="200"}'] == 2
    assert found['fedsurg_gateway_requests_total{path="",site="hospital-a",status="404"}'] == 4
    assert found['fedsurg_gateway_bytes_total{direction="in",site="hospital-a"}'] == 200
    assert found['fedsurg_gateway_bytes_total{direction="out",site="hospital-a"}'] == 14
    assert found['fedsurg_gateway_refusals_total{reason="foreign"}'] == 1
    assert found['fedsurg_gateway_connections{site="hospital-a"}'] == 2
    assert not [name for name in found if "anybody" in name]


def test_what_has_not_happened_yet_is_nought(federation: Path) -> None:
    """So that the first forged request is an increase, and a hospital that never asked is silent."""
    found = page(Meters(federation / "coordinator", clock_now))
    assert found['fedsurg_gateway_refusals_total{reason="forged"}'] == 0
    for site in ("hospital-a", "hospital-b"):
        assert found[f'fedsurg_gateway_requests_total{{path="{HELLO}",site="{site}",status="200"}}'] == 0


def test_days_until_certificates_end(federation: Path) -> None:
    found = page(Meters(federation / "coordinator", lambda: clock_now() + timedelta(days=65)))
    days = {name: round(value) for name, value in found.items() if name.startswith("fedsurg_certificate_expiry_days")}
    assert days == {
        'fedsurg_certificate_expiry_days{holder="authority"}': 3585,
        'fedsurg_certificate_expiry_days{holder="gateway"}': 300,
        'fedsurg_certificate_expiry_days{holder="hospital-a"}': 300,
        'fedsurg_certificate_expiry_days{holder="hospital-b"}': 300,
    }


def test_runs(tmp_path: Path) -> None:
    def write(name: str, facts: Any) -> None:
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "status.json").write_text(facts if isinstance(facts, str) else json.dumps(facts))

    sites = {"hospital-a": {"round": 3, "seconds": 12.5}, "hospital-b": {"round": None}}
    write(
        "tiny-0123", {"study": "0" * 64, "name": "tiny", "state": "running", "round": 3, "rounds": 10, "sites": sites}
    )
    write("torn-4567", '{"study":')
    found = page(Meters(tmp_path, lambda: datetime.now(UTC)))
    assert found['fedsurg_run_state{run="tiny-0123",state="running",study="tiny"}'] == 1
    assert found['fedsurg_run_round{run="tiny-0123",study="tiny"}'] == 3
    assert found['fedsurg_run_rounds{run="tiny-0123",study="tiny"}'] == 10
    assert found['fedsurg_run_site_round{run="tiny-0123",site="hospital-a",study="tiny"}'] == 3
    assert found['fedsurg_run_site_round{run="tiny-0123",site="hospital-b",study="tiny"}'] == 0
    assert found['fedsurg_run_state{run="torn-4567",state="unknown",study=""}'] == 1

"""What Prometheus reads, on a loopback port: requests, refusals, bytes, connections, certificates, runs."""

import contextlib
import json
from collections import Counter as Count
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fedsurg.errors import FedsurgError
from fedsurg.relay import FLEET_PATHS, HELLO
from fedsurg.request_log import Entry
from server.gateway.notices import MATTERS
from server.layout import AUTHORITY, GATEWAY_CERTIFICATES, RUNS
from server.members import Members

DAY = 86400.0


class Meters:
    """Counts requests, and reads the rest from the coordinator's folder when it is asked.

    Args:
        folder: the coordinator's.
        now: the time.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "fedsurg_gateway_requests", "Requests of sites.", ["site", "path", "status"], registry=self._registry
        )
        self._refusals = Counter(
            "fedsurg_gateway_refusals", "Requests and connections refused.", ["reason"], registry=self._registry
        )
        self._bytes = Counter(
            "fedsurg_gateway_bytes", "Bytes of bodies.", ["site", "direction"], registry=self._registry
        )
        for reason in MATTERS:  # a counter that begins at 1 has not increased, and raises no alert
            self._refusals.labels(reason)
        self._folder = _Folder(folder, now)
        self._registry.register(self._folder)

    def watch_connections(self, sites: Callable[[], list[str]]) -> None:
        """Where to ask for the site of each open connection."""
        self._folder.connections = sites

    def count(self, entry: Entry) -> None:
        """One request, with its path if that is one that the gateway answers: any other is made up."""
        if entry.reason:
            self._refusals.labels(entry.reason).inc()
        if entry.site:
            path = entry.path if entry.path in {HELLO, *FLEET_PATHS} else ""
            self._requests.labels(entry.site, path, str(entry.status)).inc()
            self._bytes.labels(entry.site, "in").inc(entry.bytes_in)
            self._bytes.labels(entry.site, "out").inc(entry.bytes_out)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """The page /metrics."""
        if request.path != "/metrics":
            return web.Response(status=404)
        for site in self._folder.members():  # so that one that never asked is seen to be silent
            self._requests.labels(site, HELLO, "200")
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class _Folder(Collector):
    """What stands in files."""

    def __init__(self, folder: Path, now: Callable[[], datetime]) -> None:
        self._folder, self._now = folder, now
        self.connections: Callable[[], list[str]] = list

    def collect(self) -> Iterator[Metric]:
        """All of it."""
        opened = GaugeMetricFamily("fedsurg_gateway_connections", "Open connections.", labels=["site"])
        for site, count in Count(self.connections()).items():
            opened.add_metric([site], count)
        yield opened
        yield self._certificates()
        yield from self._runs()

    def _certificates(self) -> Metric:
        left = GaugeMetricFamily(
            "fedsurg_certificate_expiry_days", "Days until the certificate in use ends.", labels=["holder"]
        )
        for holder, file in (("authority", AUTHORITY), ("gateway", GATEWAY_CERTIFICATES)):
            try:
                newest = x509.load_pem_x509_certificate((self._folder / file).read_bytes())
            except (OSError, ValueError):
                continue
            left.add_metric([holder], self._days(newest.not_valid_after_utc))
        for site, ends in self.members().items():
            left.add_metric([site], self._days(ends))
        return left

    def members(self) -> dict[str, datetime]:
        """Names of the hospitals that may take part, and when the certificate in use ends."""
        found, members = {}, Members(self._folder)
        for site in members.names():
            with contextlib.suppress(FedsurgError):  # a damaged file; the commands say which
                member = members.find(site)
                if member and member.certificates and not member.revoked:
                    found[site] = member.certificates[-1].ends
        return found

    def _days(self, end: datetime) -> float:
        return (end - self._now()).total_seconds() / DAY

    def _runs(self) -> Iterator[Metric]:
        state = GaugeMetricFamily("fedsurg_run_state", "1 for the state a run is in.", labels=["study", "run", "state"])
        rounds = GaugeMetricFamily("fedsurg_run_round", "Rounds that are done.", labels=["study", "run"])
        planned = GaugeMetricFamily("fedsurg_run_rounds", "Rounds of the study.", labels=["study", "run"])
        sites = GaugeMetricFamily("fedsurg_run_site_round", "Last round of a site.", labels=["study", "run", "site"])
        for path in sorted((self._folder / RUNS).glob("*/status.json")):
            facts = _read(path)
            labels = [str(facts.get("name", "")), path.parent.name]
            state.add_metric([*labels, str(facts.get("state", "unknown"))], 1)
            rounds.add_metric(labels, _number(facts.get("round")))
            planned.add_metric(labels, _number(facts.get("rounds")))
            found = facts.get("sites")
            for site, one in (found if isinstance(found, dict) else {}).items():
                sites.add_metric([*labels, site], _number(one.get("round") if isinstance(one, dict) else None))
        yield from (state, rounds, planned, sites)


def _read(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0

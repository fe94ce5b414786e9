"""A coordinator and hospitals in folders of their own, at a time of their own: what both ends do, without commands."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fedsurg.joining.invitation import Invitation
from fedsurg.joining.keys import read_private_key
from fedsurg.joining.request import Request, SiteKeys, request_text
from server.joining import Admitted, admit, invite, make_federation
from site_client.enrolment import enrol, join, read_node_private_key, renew
from site_client.layout import NODE_KEY, PENDING_KEY

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


@dataclass
class World:
    """Files are named after the site; `now` moves by hand."""

    folder: Path
    now: datetime = NOW

    @property
    def coordinator(self) -> Path:
        return self.folder / "coordinator"

    def site(self, name: str = "hospital-a") -> Path:
        return self.folder / name

    def file(self, kind: str, name: str = "hospital-a") -> Path:
        return self.folder / f"{name}.{kind}"

    def invite(self, name: str = "hospital-a") -> Invitation:
        self.file("invite", name).unlink(missing_ok=True)
        return invite(self.coordinator, name, self.file("invite", name), self.now)

    def enrol(self, name: str = "hospital-a") -> Request:
        (self.folder / "data").mkdir(exist_ok=True)
        data, out = self.folder / "data", self.file("request", name)
        return enrol(self.file("invite", name), self.site(name), data, out, self.now)[1].request

    def admit(self, name: str = "hospital-a", fingerprint: str | None = None) -> Admitted:
        self.file("admission", name).unlink(missing_ok=True)
        out = self.file("admission", name)
        return admit(self.coordinator, self.file("request", name), out, self.now, fingerprint)

    def join(self, name: str = "hospital-a") -> None:
        join(self.file("admission", name), self.site(name), self.now)

    def renew(self, name: str = "hospital-a") -> Request:
        self.file("request", name).unlink(missing_ok=True)
        return renew(self.site(name), self.file("request", name), self.now).request

    def joined(self, *names: str) -> "World":
        for name in names or ("hospital-a",):
            self.invite(name)
            self.enrol(name)
            self.admit(name)
            self.join(name)
        return self

    def keys(self, name: str = "hospital-a") -> SiteKeys:
        """The keys of a site whose request waits."""
        return SiteKeys(
            read_private_key(self.site(name) / PENDING_KEY), read_node_private_key(self.site(name) / NODE_KEY)
        )

    def joined_node_key(self, name: str) -> ec.EllipticCurvePrivateKey:
        return read_node_private_key(self.site(name) / NODE_KEY)

    def reseal(self, body: Request, keys: SiteKeys | None = None, token: str | None = None) -> None:
        """Write the request of hospital-a anew, with proofs that fit, as the site itself could."""
        secret = token or self.read("invite")["body"]["token"]
        self.file("request").write_text(request_text(body, keys or self.keys(), secret))

    def read(self, kind: str, name: str = "hospital-a") -> Any:
        return json.loads(self.file(kind, name).read_text(encoding="utf-8"))

    def corrupt(self, kind: str, where: str, value: Any) -> Path:
        """Set one field, `body.site`, of an exchanged file of hospital-a; a function is applied to what is there."""
        content = self.read(kind)
        *outer, last = where.split(".")
        inside = content
        for key in outer:
            inside = inside[key]
        inside[last] = value(inside[last]) if callable(value) else value
        self.file(kind).write_text(json.dumps(content), encoding="utf-8")
        return self.file(kind)

    def snapshot(self, *below: str) -> dict[str, bytes]:
        """Every file, but for locks; or those below some folders."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for folder in below or ("",)
            for path in sorted((self.folder / folder).rglob("*"))
            if path.is_file() and path.name != ".lock"
        }


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    make_federation(made.coordinator, "fl.example.org", 9443, made.now)
    return made

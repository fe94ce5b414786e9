"""The coordinator's folder and its `federation.toml`: where the federation is, and how long things are valid."""

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from fedsurg.audit.log import FOLDER, AuditLog
from fedsurg.joining.envelope import Strict, read_settings
from fedsurg.joining.folders import locked
from fedsurg.joining.names import Host, Port, at
from server.layout import DEFAULT_PORT, FEDERATION_FILE, LOG

Days = Annotated[int, Field(ge=1, le=7300)]


class Validity(Strict):
    """How long things are valid, in days."""

    invitation: Days = 14  # long enough for a hospital's IT, short for a lost mail
    site: Days = 365
    gateway: Days = 365
    renew_before: Days = 60  # a site is told to renew this long before its certificate ends

    def of(self, name: str) -> timedelta:
        """The days of one key."""
        days: int = getattr(self, name)
        return timedelta(days=days)


class Ports(Strict):
    """Ports for this machine alone: nobody else reaches them."""

    superlink: Port = 9444
    metrics: Port = 9445


class GatewayLimits(Strict):
    """What the gateway takes."""

    listen: str = ""  # address of one network card; empty: of all
    object_mib: Annotated[int, Field(ge=6, le=1024)] = 16  # one object of an update; Flower's have 5 MiB at most
    upload_mib_per_minute: Annotated[int, Field(ge=1, le=1 << 20)] = 2048  # of one site
    requests_per_second: Annotated[float, Field(ge=1, le=10_000)] = 20.0  # of one site, on average
    connections_per_site: Annotated[int, Field(ge=2, le=1000)] = 16  # a SuperNode needs four at most


class FederationFile(Strict):
    """The keys of `federation.toml`; an unknown one is an error."""

    host: Host
    port: Port = DEFAULT_PORT
    validity: Validity = Validity()
    ports: Ports = Ports()
    gateway: GatewayLimits = GatewayLimits()

    @property
    def address(self) -> str:
        """Host and port."""
        return at(self.host, self.port)

    def text(self) -> str:
        """The file as `server init` writes it."""
        return (
            "# Where hospitals find the gateway. After a change: fedsurg server renew, and new admissions carry it.\n"
            f"host = {json.dumps(self.host)}\n"
            f"port = {self.port}\n"
            "\n"
            "# In days, for what is made from now on. A site is told to renew `renew_before` days before its end.\n"
            "[validity]\n"
            f"{_lines(self.validity)}"
            "\n"
            "# Of this machine alone (127.0.0.1): Flower's SuperLink, and figures for Prometheus.\n"
            "[ports]\n"
            f"{_lines(self.ports)}"
        )


def _lines(table: Strict) -> str:
    return "".join(f"{key} = {value}\n" for key, value in table.model_dump().items())


def read_federation_file(folder: Path) -> FederationFile:
    """Read and validate `folder`/federation.toml.

    Raises:
        UnreadableError: no such file, not TOML, or a key that is missing, unknown or not allowed.
    """
    missing = "make the federation with fedsurg server init, or give its folder with --dir"
    return read_settings(folder / FEDERATION_FILE, FederationFile, missing)


def coordinator_log(folder: Path) -> AuditLog:
    """The coordinator's audit log."""
    return AuditLog(folder / FOLDER, LOG)


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[FederationFile]:
    """The settings of a federation whose folder no other command changes meanwhile.

    Raises:
        UnreadableError: not a coordinator's folder.
        ExposedError: others may enter it.
    """
    settings = read_federation_file(folder)
    with locked(folder):
        yield settings

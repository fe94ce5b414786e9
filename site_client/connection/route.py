"""Where the gateway is, and how it is reached: directly or through an HTTP proxy, with this site's certificate."""

import base64
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from fedsurg.errors import JoiningError
from fedsurg.joining.certificates import read_certificate
from fedsurg.relay import Relay
from fedsurg.tls import Fresh, client_context
from site_client.layout import AUTHORITY, IDENTITY
from site_client.site_folder import Membership

CONNECTIONS = 8  # a SuperNode uses four at most


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy. Its user and password appear in no text that is made of it."""

    url: str
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return self.url.removeprefix("http://")

    @property
    def headers(self) -> dict[str, str]:
        """For its CONNECT request."""
        secret = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {secret}"} if self.user else {}


@dataclass(frozen=True)
class Route:
    """Host and port of the gateway, and the proxy on the way."""

    membership: Membership
    proxy: Proxy | None = None

    def __str__(self) -> str:
        return self.membership.address + (f" through the proxy {self.proxy}" if self.proxy else "")

    def relay(self) -> Relay:
        """What passes requests on to the gateway."""
        proxy = self.proxy
        return Relay(
            f"https://{self.membership.address}",
            connections=CONNECTIONS,
            proxy=proxy.url if proxy else None,
            proxy_headers=proxy.headers if proxy else None,
        )


def route_of(membership: Membership, environment: Mapping[str, str] = os.environ) -> Route:
    """The way that federation.toml says, or else the environment: HTTPS_PROXY and NO_PROXY.

    Raises:
        JoiningError: a proxy that is none.
    """
    if membership.proxy is not None:
        return Route(membership, read_proxy(membership.proxy, "proxy in federation.toml"))
    values = {key.lower(): value for key, value in environment.items()}
    found = values.get("https_proxy", "")
    excepted = proxy_bypass_environment(membership.host, {"no": values.get("no_proxy", "")})
    return Route(membership, read_proxy(found, "HTTPS_PROXY") if found and not excepted else None)


def read_proxy(text: str, where: str) -> Proxy | None:
    """`http://user:password@proxy:3128`; empty: no proxy.

    Raises:
        JoiningError: of another form. The message does not hold the text, as there may be a password in it.
    """
    if not text:
        return None
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port or 3128
    except ValueError:
        parts, host, port = urlsplit(""), None, 0
    if parts.scheme != "http" or not host or parts.path not in ("", "/") or parts.query:
        raise JoiningError(f"{where}: not a proxy; write it like http://proxy.example.org:3128 or http://user:pass@...")
    shown = f"[{host}]" if ":" in host else host
    return Proxy(f"http://{shown}:{port}", unquote(parts.username or ""), unquote(parts.password or ""))


@dataclass(frozen=True)
class Shown:
    """What this site shows of itself: TLS with its certificate, and when that ends."""

    context: ssl.SSLContext
    ends: datetime


def shown_identity(folder: Path, failed: Callable[[JoiningError], None]) -> Fresh[Shown]:
    """The site's certificate, which is read again after each renewal.

    Raises:
        JoiningError: the site has not joined, or a file is damaged.
    """
    path = folder / IDENTITY

    def make() -> Shown:
        context = client_context(path, folder / AUTHORITY)
        return Shown(context, read_certificate(path.read_text("utf-8"), str(path)).not_valid_after_utc)

    return Fresh(path, make, failed)

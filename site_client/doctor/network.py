"""The way to the coordinator: one outbound connection, through a proxy where there is one."""

from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from site_client.doctor.finding import Site, ToDoError


def proxy(site: Site) -> str:
    """The environment names no proxy, or one that can be used."""
    host = site.membership.host
    if proxy_bypass_environment(host):
        return f"none for {host}, as NO_PROXY says"
    given = getproxies_environment().get("https")
    if not given:
        return "none (HTTPS_PROXY is not set)"
    parts = urlsplit(given if "//" in given else f"//{given}")
    if parts.scheme not in ("", "http") or not parts.hostname:
        raise ToDoError(
            f"HTTPS_PROXY {parts.scheme}://{parts.hostname or ''}: only http proxies can be used; set http://HOST:PORT"
        )
    return f"{parts.hostname}:{parts.port or 80}, as HTTPS_PROXY says"

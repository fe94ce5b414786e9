"""Names of sites and addresses of federations: what is allowed, and how they stand in certificates."""

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field

from fedsurg.errors import JoiningError

# As in a study's [[sites]]; such a name is also a file name, a common name (64 at most) and the end of a URN.
_SITE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MAX_HOST = 253  # characters, the limit of DNS

URN = "urn:fedsurg:site:"


def check_site_name(name: str) -> str:
    """`name`, if a site may have it.

    Raises:
        JoiningError: it holds anything but small letters, digits, - and _.
    """
    if not _SITE_NAME.fullmatch(name):
        raise JoiningError(
            f"site name {name!r}: allowed are 1 to 64 small letters, digits, - and _, the first a letter or digit, "
            "as in hospital-a"
        )
    return name


def check_host(host: str) -> str:
    """`host`, if it is a DNS name or an IP address.

    Raises:
        JoiningError: it is neither.
    """
    if is_address(host):
        return host
    labels = host.split(".")
    if len(host) > MAX_HOST or not all(_DNS_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise JoiningError(
            f"host {host!r}: not a name or address; give it in small letters and without a port, as in fl.example.org"
        )
    return host


def is_address(host: str) -> bool:
    """`host` is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def at(host: str, port: int) -> str:
    """Host and port as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _checked_by(check: Callable[[str], str]) -> AfterValidator:
    """The check for a field of a file, where pydantic wants a ValueError."""

    def checked(text: str) -> str:
        try:
            return check(text)
        except JoiningError as problem:
            raise ValueError(str(problem)) from None

    return AfterValidator(checked)


SiteName = Annotated[str, _checked_by(check_site_name)]
Host = Annotated[str, _checked_by(check_host)]
Port = Annotated[int, Field(ge=1, le=65535)]

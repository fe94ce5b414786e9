"""The way to the coordinator: one outbound connection, through a proxy where there is one, and clocks that agree."""

from fedsurg.errors import ClockError
from fedsurg.joining.clock import stamp
from site_client.doctor.finding import Site


def proxy(site: Site) -> str:
    """There is no proxy on the way, or one that can be used."""
    from site_client.connection.route import route_of

    found = route_of(site.membership).proxy
    return f"goes through {found}" if found else "none (federation.toml and HTTPS_PROXY name none for the gateway)"


def connection(site: Site) -> str:
    """The gateway is reached, is the federation's own, and accepts this site."""
    if isinstance(site.trial, ClockError):
        return f"{site.membership.address} answers as this federation's gateway"
    if isinstance(site.trial, Exception):
        raise site.trial
    return site.trial


def clock(site: Site) -> str:
    """The clock of this machine agrees with the coordinator's, as far as Flower needs it to."""
    if isinstance(site.trial, ClockError):
        raise site.trial
    compared = (
        "not compared, as there is no connection" if isinstance(site.trial, Exception) else "as the coordinator's"
    )
    return f"{stamp(site.now)}, {compared}"

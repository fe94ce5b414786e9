"""What went wrong with a connection to the gateway: one line that says what to do."""

import ssl
from datetime import datetime

import aiohttp

from fedsurg.errors import FedsurgError, JoiningError
from fedsurg.joining.clock import stamp
from site_client.connection.route import Route

# Numbers of OpenSSL's for what we think of the gateway's.
_VERIFY = {
    9: "the gateway's certificate has not begun: one of two clocks is wrong",
    10: "the gateway's certificate has ended; tell the coordinator to run fedsurg server renew",
    62: "the gateway's certificate is for another host than federation.toml names; tell the coordinator",
    64: "the gateway's certificate is for another address than federation.toml names; tell the coordinator",
}
_FOREIGN = (
    "who answers is not this federation's gateway; check host and port in federation.toml. An appliance that takes TLS "
    "apart has to leave this address alone"
)


def explained(problem: Exception, route: Route, now: datetime, ends: datetime | None = None) -> str:
    """One line for a person.

    Args:
        problem: what `Relay.ask` raised.
        route: that was tried.
        now: the time.
        ends: of this site's certificate, if it is known.
    """
    if isinstance(problem, FedsurgError):
        return str(problem)
    if ends and now > ends:
        return f"{route}: this site's certificate ended at {stamp(ends)}; ask the coordinator to invite this site again"
    return f"{route}: {_said(problem, route)}"


def failed(problem: Exception, route: Route, now: datetime, ends: datetime | None = None) -> JoiningError:
    """The same as an error."""
    return JoiningError(explained(problem, route, now, ends))


def _said(problem: Exception, route: Route) -> str:
    return (_of_proxy(problem) if route.proxy else "") or _tls(problem) or _of_network(problem, route)


def _of_network(problem: Exception, route: Route) -> str:
    if isinstance(problem, aiohttp.ClientConnectorDNSError):
        return f"the name {route.membership.host} is not known here; check host in federation.toml, and DNS"
    if isinstance(problem, TimeoutError):
        return "no answer in time; does the firewall let this machine out to that port?"
    if isinstance(problem, aiohttp.ClientConnectorError):
        if isinstance(problem.os_error, ConnectionRefusedError):
            return "nobody listens there; the gateway is down, or host or port in federation.toml are wrong"
        return f"cannot be reached ({problem.os_error.strerror or problem.os_error}); check the network"
    return (
        f"the connection was closed ({type(problem).__name__}); the gateway is being started again, or does not take "
        "this site's certificate: the coordinator's log says why"
    )


def _of_proxy(problem: Exception) -> str:
    if isinstance(problem, aiohttp.ClientProxyConnectionError):
        return "the proxy does not answer; check `proxy` in federation.toml or HTTPS_PROXY"
    if isinstance(problem, aiohttp.ClientHttpProxyError):
        if problem.status == 407:
            return "the proxy wants a user and password, or others: http://user:password@proxy:port"
        return f"the proxy does not let this machine out to the gateway (HTTP {problem.status}); ask who runs it"
    return ""


def _tls(problem: BaseException | None) -> str:
    """The deepest reason in TLS, if there is one."""
    while problem is not None:
        inner = getattr(problem, "certificate_error", None) or getattr(problem, "os_error", None) or problem
        if isinstance(inner, ssl.SSLCertVerificationError):
            return _VERIFY.get(inner.verify_code, _FOREIGN)
        if isinstance(inner, ssl.SSLError):
            return f"no TLS came about ({inner.reason}); is it the gateway that is there?"
        problem = problem.__cause__
    return ""

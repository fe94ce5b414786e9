"""The door: accepts connections, speaks TLS, knows whose connection is whose, and closes those that must not stay."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web
from cryptography import x509

from fedsurg.errors import JoiningError
from fedsurg.joining.certificates import site_of
from fedsurg.relay import hang_up

HANDSHAKE_SECONDS = 10.0  # two round trips and one signature; nobody is that far away
IDLE_SECONDS = (
    75.0  # a SuperNode asks at least every eleven seconds; headers that trickle in for longer are cut off too
)
HANDSHAKES = 64  # at a time; more wait in the kernel's queue
BACKLOG = 128


@dataclass(eq=False)
class Visitor:
    """A connection whose client showed a certificate of the authority."""

    certificate: x509.Certificate
    address: str
    transport: asyncio.Transport
    site: str = field(init=False)

    def __post_init__(self) -> None:
        self.site = site_of(self.certificate)


class Door:
    """A TLS server that hands its connections to an HTTP server.

    Args:
        handle: answers a request.
        context: for the next connection.
        connections_per_site: that may be open at a time.
        turned_away: told address and reason of a connection that was not let in.
    """

    def __init__(
        self,
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        context: Callable[[], ssl.SSLContext],
        connections_per_site: int,
        turned_away: Callable[[str, str, str], None],
    ) -> None:
        self._server = web.Server(
            handle,
            handler_cancellation=True,
            keepalive_timeout=IDLE_SECONDS,
            auto_decompress=False,
            max_line_size=1024,
            max_field_size=4096,  # a key or signature has some hundred characters
            max_headers=32,
            access_log=None,
        )
        self._context, self._limit, self._turned_away = context, connections_per_site, turned_away
        self._visitors: dict[asyncio.BaseTransport, Visitor] = {}
        self._arriving: dict[asyncio.Task[None], socket.socket] = {}

    @property
    def visitors(self) -> list[Visitor]:
        """Of all open connections."""
        self._visitors = {key: one for key, one in self._visitors.items() if not key.is_closing()}
        return list(self._visitors.values())

    def visitor(self, request: web.BaseRequest) -> Visitor:
        """Whose request this is.

        Raises:
            ConnectionResetError: of nobody any more.
        """
        found = self._visitors.get(request.transport) if request.transport else None
        if found is None:
            raise ConnectionResetError("closed meanwhile")
        return found

    async def serve(self, listener: socket.socket) -> None:
        """Let in whoever comes, until cancelled."""
        listener.setblocking(False)
        free = asyncio.Semaphore(HANDSHAKES)
        while True:
            await free.acquire()
            await _readable(listener)
            try:
                accepted, address = listener.accept()
            except OSError:  # the client went again, or no file handle is free
                free.release()
                await asyncio.sleep(0.1)
                continue
            task = asyncio.create_task(self._let_in(accepted, str(address[0])))
            self._arriving[task] = accepted
            task.add_done_callback(lambda task: self._arriving.pop(task, None))
            task.add_done_callback(lambda _: free.release())

    async def close(self, seconds: float) -> None:
        """Let requests in progress end, then close all connections."""
        arriving = dict(self._arriving)
        for task in arriving:
            task.cancel()
        await asyncio.gather(*arriving, return_exceptions=True)
        for accepted in arriving.values():
            accepted.close()  # of a task that had not begun
        await self._server.shutdown(seconds)

    async def _let_in(self, accepted: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_accepted_socket(
                self._server, accepted, ssl=self._context(), ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except (OSError, TimeoutError, JoiningError) as problem:
            accepted.close()
            self._turned_away(address, *_reason(problem))
            return
        shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        visitor = Visitor(x509.load_der_x509_certificate(shown), address, transport)
        if sum(one.site == visitor.site for one in self.visitors) >= self._limit:
            hang_up(transport)
            self._turned_away(address, "connections", f"{visitor.site} has {self._limit} open connections already")
            return
        self._visitors[transport] = visitor


def listen(address: str, port: int) -> socket.socket:
    """A socket that takes connections.

    Args:
        address: of one network card; empty: of all.

    Raises:
        JoiningError: the port is taken, or the address is not of this machine.
    """
    both = not address and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as problem:
        raise JoiningError(
            f"{address or 'all addresses'}, port {port}: cannot be listened on ({problem.strerror}); end what uses it, "
            "or change federation.toml"
        ) from problem


async def _readable(listener: socket.socket) -> None:
    """Wait until a connection can be accepted; unlike `sock_accept`, nothing is lost when this is cancelled."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(listener, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(listener)


def ended(certificate: x509.Certificate, now: datetime) -> bool:
    """The certificate is not good any more."""
    return now.astimezone(UTC) > certificate.not_valid_after_utc


# What OpenSSL calls it -> one word for counters, what it means.
_HANDSHAKES = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": ("no certificate", "the client showed no certificate"),
    10: ("expired", "the client's certificate has ended"),
    9: ("not yet valid", "the client's certificate has not begun; one of two clocks is wrong"),
    18: ("foreign", "the client's certificate is self-signed"),
    19: ("foreign", "the client's certificate is of another authority"),
    20: ("foreign", "the client's certificate is of another authority"),
    26: ("foreign", "the client's certificate is not for clients"),
}


def _reason(problem: Exception) -> tuple[str, str]:
    if isinstance(problem, ssl.SSLCertVerificationError):
        said = f"the client's certificate is not good: {problem.verify_message}"
        return _HANDSHAKES.get(problem.verify_code, ("foreign", said))
    if isinstance(problem, ssl.SSLError):
        return _HANDSHAKES.get(problem.reason or "", ("handshake", f"no TLS came about ({problem.reason})"))
    return "handshake", f"no TLS came about ({str(problem) or type(problem).__name__})"

"""TLS as both ends speak it: the federation's own authority and nothing else, 1.2 at least, renewed files at once."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from fedsurg.errors import JoiningError
from fedsurg.files import look_at

Made = TypeVar("Made")


def server_context(pem: Path, authority: Path | None = None) -> ssl.SSLContext:
    """For a server.

    Args:
        pem: key and certificates in one file.
        authority: clients have to show a certificate of this one; without it nobody is asked for one.

    Raises:
        JoiningError: a file cannot be read, or does not hold what it should.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, pem, authority)
    # No session is resumed: a client's certificate is asked for and looked at each time.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    if authority:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def client_context(pem: Path, authority: Path) -> ssl.SSLContext:
    """For a client that shows the certificate in `pem`; the server's has to be the authority's, for the host's name.

    Raises:
        JoiningError: as `server_context`.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, pem, authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def _context(protocol: int, pem: Path, authority: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of 1.2; those of 1.3 are all good
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(pem, password=lambda: "")  # never ask at a terminal
        if authority:
            context.load_verify_locations(authority)
    except (OSError, ValueError) as problem:
        said = getattr(problem, "reason", None) or getattr(problem, "strerror", None) or problem
        raise JoiningError(f"{pem}: cannot be used for TLS ({said}); restore it from a backup") from problem
    return context


class Fresh(Generic[Made]):
    """What is made of a file, made anew when the file has changed.

    Args:
        path: the file; it is replaced whole, not rewritten.
        make: from the file.
        failed: told when a new file cannot be used; the one before stays in use.
    """

    def __init__(self, path: Path, make: Callable[[], Made], failed: Callable[[JoiningError], None]) -> None:
        self._path, self._make, self._failed = path, make, failed
        self._seen = look_at(path)
        self._made = make()

    def get(self) -> Made:
        """As the file is now."""
        seen = look_at(self._path)
        if seen is not None and seen != self._seen:
            self._seen = seen
            try:
                self._made = self._make()
            except JoiningError as problem:
                self._failed(problem)
        return self._made

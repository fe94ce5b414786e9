"""When a child is ready: checks to give to `Child`."""

import socket
from collections.abc import Callable
from pathlib import Path

from fedsurg.errors import SupervisionError

CONNECT_S = 0.5


def port_open(port: int, host: str = "127.0.0.1") -> Callable[[], bool]:
    """Someone listens on the port."""

    def ready() -> bool:
        try:
            socket.create_connection((host, port), CONNECT_S).close()
        except OSError:
            return False
        return True

    return ready


def file_there(path: Path) -> Callable[[], bool]:
    """The file, or Unix socket, exists."""
    return path.exists


def require_free_port(port: int, what: str, host: str = "127.0.0.1") -> None:
    """Nobody listens on the port.

    Args:
        port: to be used.
        what: for, and where a person can choose another one.
        host: address on which it is to be listened.

    Raises:
        SupervisionError: it is taken.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            raise SupervisionError(
                f"port {port} for {what} cannot be used ({problem.strerror}); end what uses it, or choose another"
            ) from problem

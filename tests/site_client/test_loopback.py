"""The certificate between SuperNode and connection: good for 127.0.0.1, private, and trusted by nothing else."""

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest

from site_client.loopback import HOST, Loopback, make_loopback


def handshake(server: Loopback, trusted: Loopback, name: str = HOST) -> bytes:
    """A TLS handshake over a pair of sockets; what the listening end then said."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.pem)
    theirs, ours = socket.socketpair()

    def answer() -> None:
        try:
            with theirs, context.wrap_socket(theirs, server_side=True) as end:
                end.sendall(b"hello")
        except ssl.SSLError:
            pass  # the other end says why

    thread = threading.Thread(target=answer)
    thread.start()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default of later versions of Python
    client.load_verify_locations(cadata=trusted.root.read_text("ascii"))
    try:
        with ours, client.wrap_socket(ours, server_hostname=name) as end:
            return end.recv(5)
    finally:
        thread.join()


def test_the_other_end_is_trusted_by_its_root_alone(tmp_path: Path) -> None:
    first, second = make_loopback(tmp_path / "first"), make_loopback(tmp_path / "second")
    assert handshake(first, first) == b"hello"
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        handshake(first, second)
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        handshake(first, first, "127.0.0.2")


def test_the_key_is_the_owners_and_each_start_has_its_own(tmp_path: Path) -> None:
    before = make_loopback(tmp_path).pem.read_bytes()
    made = make_loopback(tmp_path)
    assert made == Loopback.of(tmp_path)
    assert stat.S_IMODE(made.pem.stat().st_mode) == 0o600
    assert made.pem.read_bytes() != before
    assert b"PRIVATE" not in made.root.read_bytes()

"""Who gets in at the gateway's door, and for how long: real TLS on 127.0.0.1, one certificate wrong at a time."""

import asyncio
import json
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fedsurg.joining.certificates import certificate_pem
from fedsurg.joining.clock import now as clock_now
from fedsurg.joining.keys import private_pem
from fedsurg.tls import client_context
from server.authority import gateway_pem, make_authority, read_authority
from server.joining import admit, renew_gateway, revoke
from server.revocation import RevocationList
from site_client.enrolment import join, renew


def use(folder: Path, scene: Any, key: Any, certificate: Any) -> ssl.SSLContext:
    """TLS with another certificate."""
    pem = folder / "other.pem"
    pem.write_bytes(private_pem(key) + certificate_pem(certificate).encode())
    return client_context(pem, scene.coordinator / "ca.pem")


def test_without_a_certificate_nobody_gets_in(play: Any) -> None:
    async def actions(scene: Any) -> None:
        bare = ssl.create_default_context(cafile=scene.coordinator / "ca.pem")
        scene.a.context = bare
        with pytest.raises(aiohttp.ClientError):
            await scene.a.heartbeat()
        await asyncio.sleep(0.05)
        assert json.loads(scene.log())["reason"] == "no certificate"
        assert '"what":"gateway refused"' in await scene.audit()
        assert not scene.superlink.asked

    play(actions)


def test_a_foreign_authoritys_certificate_does_not_get_in(play: Any, tmp_path: Path) -> None:
    async def actions(scene: Any) -> None:
        foreign = make_authority("fl.example.org", clock_now())
        key = ec.generate_private_key(ec.SECP384R1())
        issued = foreign.issue_site(key.public_key(), "hospital-a", clock_now(), timedelta(days=1))
        scene.a.context = use(tmp_path, scene, key, issued)
        with pytest.raises(aiohttp.ClientError):
            await scene.a.heartbeat()
        await asyncio.sleep(0.05)
        assert json.loads(scene.log())["reason"] == "foreign"

    play(actions)


def test_the_gateways_own_certificate_is_no_clients(play: Any, tmp_path: Path) -> None:
    async def actions(scene: Any) -> None:
        scene.a.context = client_context(scene.coordinator / "private/gateway.pem", scene.coordinator / "ca.pem")
        with pytest.raises(aiohttp.ClientError):
            await scene.a.heartbeat()
        assert not scene.superlink.asked

    play(actions)


def test_a_certificate_that_was_never_written_down_does_not_get_in(play: Any, tmp_path: Path) -> None:
    """Signed by the right authority, but for nobody that the coordinator admitted: a second copy of its key."""

    async def actions(scene: Any) -> None:
        authority = read_authority(scene.coordinator)
        key = ec.generate_private_key(ec.SECP384R1())
        issued = authority.issue_site(key.public_key(), "hospital-a", clock_now(), timedelta(days=1))
        scene.a.context = use(tmp_path, scene, key, issued)
        status, answer = await scene.a.heartbeat()
        assert (status, scene.detail(answer)) == (401, "a certificate that names hospital-a, but was not issued to it")

    play(actions)


def test_a_certificate_that_ends_meanwhile_closes_the_connection(play: Any) -> None:
    async def actions(scene: Any) -> None:
        assert (await scene.a.heartbeat())[0] == 200
        scene.ahead = timedelta(days=366)
        status, answer = await scene.a.heartbeat()
        assert status == 401
        assert scene.detail(answer).startswith("the certificate of hospital-a ended at ")

    play(actions)


def test_a_revocation_acts_on_an_open_connection_of_that_site_alone(play: Any) -> None:
    async def actions(scene: Any) -> None:
        assert (await scene.a.heartbeat())[0] == (await scene.b.heartbeat())[0] == 200
        others = {visitor.site: visitor for visitor in scene.gateway.door.visitors}
        revoke(scene.coordinator, "hospital-a", "laptop lost", clock_now())
        status, answer = await scene.a.heartbeat()
        assert (status, scene.detail(answer)) == (
            401,
            "hospital-a was revoked by the coordinator; ask why, and for an invitation",
        )
        assert '"reason":"revoked"' in await scene.audit()
        assert (await scene.b.heartbeat())[0] == 200
        assert [visitor for visitor in scene.gateway.door.visitors if visitor.site == "hospital-b"] == [
            others["hospital-b"]
        ]

    play(actions)


def test_a_revocation_closes_idle_connections(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.gateway.app.WATCH_SECONDS", 0.05)

    async def actions(scene: Any) -> None:
        assert (await scene.a.heartbeat())[0] == (await scene.b.heartbeat())[0] == 200
        revoke(scene.coordinator, "hospital-a", "", clock_now())
        async with asyncio.timeout(5):
            while [visitor.site for visitor in scene.gateway.door.visitors] != ["hospital-b"]:
                await asyncio.sleep(0.02)

    play(actions)


def test_a_lost_list_of_revoked_ones_lets_nobody_in_until_it_is_back(play: Any) -> None:
    async def actions(scene: Any) -> None:
        path = scene.coordinator / "crl.pem"
        kept = path.read_bytes()
        path.unlink()
        status, answer = await scene.a.heartbeat()
        assert status == 503
        assert "no list of revoked certificates can be read" in scene.detail(answer)
        path.write_bytes(kept)
        assert (await scene.a.heartbeat())[0] == 200

    play(actions)


def test_a_renewed_certificate_retires_the_one_before_when_it_is_used(play: Any) -> None:
    async def actions(scene: Any) -> None:
        before = scene.a.context
        request, admission = scene.folder / "again.request", scene.folder / "again.admission"
        renew(scene.a.folder, request, clock_now())
        admit(scene.coordinator, request, admission, clock_now())
        assert (await scene.a.heartbeat())[0] == 200
        join(admission, scene.a.folder, clock_now())
        scene.a.context = client_context(scene.a.folder / "private/identity.pem", scene.a.folder / "ca.pem")
        assert (await scene.a.heartbeat())[0] == 200
        certificates = json.loads((scene.coordinator / "sites/hospital-a.json").read_text())["certificates"]
        revoked = RevocationList(scene.coordinator)
        assert [revoked.is_revoked(int(one["serial"], 16)) for one in certificates] == [True, False]
        scene.a.context = before
        assert (await scene.a.heartbeat())[0] == 401

    play(actions)


def test_a_site_has_so_many_connections_and_no_more(play: Any) -> None:
    async def actions(scene: Any) -> None:
        opened = []
        for _ in range(2):
            opened.append(await asyncio.open_connection("127.0.0.1", scene.port, ssl=scene.a.context))
        await asyncio.sleep(0.2)
        reader, _writer = await asyncio.open_connection("127.0.0.1", scene.port, ssl=scene.a.context)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        assert (await scene.b.heartbeat())[0] == 200
        for _, writer in opened:
            writer.close()

    play(actions, gateway="connections_per_site = 2")


def test_a_slow_client_is_cut_off(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.gateway.app.BODY_SECONDS", 0.3)
    monkeypatch.setattr("server.gateway.door.IDLE_SECONDS", 0.5)

    async def actions(scene: Any) -> None:
        headers = "".join(f"{key}: {value}\r\n" for key, value in scene.a.headers().items())
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port, ssl=scene.a.context)
        writer.write(f"POST /v1/fleet/get-run HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n{headers}\r\nabc".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        assert await reader.read() is not None
        # Headers that never end.
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port, ssl=scene.a.context)
        async with asyncio.timeout(5):
            try:
                writer.write(b"POST /v1/fleet/get-run HTTP/1.1\r\n")
                while not reader.at_eof():
                    writer.write(b"a: b\r\n")
                    await asyncio.wait([asyncio.create_task(reader.read(1))], timeout=0.1)
            except ConnectionError:
                pass
        assert not scene.superlink.asked

    play(actions)


def test_the_gateways_renewed_certificate_is_used_at_once(play: Any) -> None:
    async def actions(scene: Any) -> None:
        def shown(writer: asyncio.StreamWriter) -> Any:
            return writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]

        _, first = await asyncio.open_connection("127.0.0.1", scene.port, ssl=scene.a.context)
        renewed = renew_gateway(scene.coordinator, clock_now())
        _, second = await asyncio.open_connection("127.0.0.1", scene.port, ssl=scene.a.context)
        assert shown(first) != shown(second)
        assert int(shown(second), 16) == renewed.serial_number
        # A damaged one is told of, and the one before stays.
        (scene.coordinator / "private/gateway.pem").write_text("nothing")
        assert (await scene.b.heartbeat())[0] == 200
        for writer in (first, second):
            writer.close()

    play(actions)


def test_a_gateways_certificate_for_another_host_is_not_taken(play: Any) -> None:
    """The hospital's side of it: name and purpose are checked."""

    async def actions(scene: Any) -> None:
        authority = read_authority(scene.coordinator)
        content, _ = gateway_pem(authority, "fl.example.org", clock_now(), timedelta(days=1))
        (scene.coordinator / "private/gateway.pem").write_bytes(content)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await scene.a.heartbeat()

    play(actions)

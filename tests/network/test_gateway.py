"""What the gateway passes on, and what it refuses: real TLS on 127.0.0.1, one field wrong at a time."""

import asyncio
import json
import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.fleet_pb2 import ActivateNodeRequest, ActivateNodeResponse, PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import Message, Metadata, ObjectTree, PushObjectRequest
from flwr.proto.node_pb2 import Node

from fedsurg.joining.clock import now as clock_now
from fedsurg.joining.keys import private_pem
from fedsurg.tls import client_context
from server.authority import gateway_pem, make_authority
from server.gateway.limits import Allowance
from server.joining import admit, revoke
from server.revocation import RevocationList
from site_client.enrolment import join, renew


def detail(answer: bytes) -> str:
    return str(json.loads(answer)["detail"])


def push(node: int, source: int, target: int = 1, reply_to: str = "m1", count: int = 1) -> PushMessagesRequest:
    facts = Metadata(src_node_id=source, dst_node_id=target, reply_to_message_id=reply_to, message_id="r1")
    return PushMessagesRequest(
        node=Node(node_id=node),
        messages_list=[Message(metadata=facts)] * count,
        message_object_trees=[ObjectTree(object_id="r1")] * count,
    )


def test_a_site_gets_through(play: Any) -> None:
    async def actions(scene: Any) -> None:
        status, answer = await scene.a.activate()
        assert (status, ActivateNodeResponse.FromString(answer).node_id) == (200, 1001)
        assert (await scene.a.heartbeat())[0] == 200
        scene.superlink.answers["/v1/fleet/pull-messages"] = b"\x0a\x02\x08\x05"
        pull = PullMessagesRequest(node=Node(node_id=1001))
        assert await scene.a.post("pull-messages", pull) == (200, b"\x0a\x02\x08\x05")
        assert (await scene.a.post("push-messages", push(1001, 1001)))[0] == 200
        assert scene.superlink.asked[-1][1] == push(1001, 1001).SerializeToString()
        last = json.loads(scene.log().splitlines()[-1])
        assert (last["site"], last["path"], last["status"]) == ("hospital-a", "/v1/fleet/push-messages", 200)
        assert last["bytes_in"] == len(push(1001, 1001).SerializeToString())
        assert "gateway refused" not in await scene.audit()

    play(actions)


def test_only_flowers_own_headers_are_passed_on(play: Any) -> None:
    async def actions(scene: Any) -> None:
        headers = scene.a.headers() | {"X-Forwarded-For": "10.0.0.1", "Cookie": "a=b", "Authorization": "Basic x"}
        assert (await scene.a.heartbeat(headers=headers))[0] == 200
        passed = {name.lower() for name in scene.superlink.headers[-1]}
        assert passed == {
            "accept", "content-length", "content-type", "flwr-public-key", "flwr-signature", "flwr-timestamp", "host",
        }  # fmt: skip

    play(actions)


def test_a_page_of_its_own(play: Any) -> None:
    async def actions(scene: Any) -> None:
        url = f"https://127.0.0.1:{scene.port}/hello"
        async with scene.a.session.get(url, ssl=scene.a.context) as answer:
            facts = await answer.json()
        assert facts["site"] == "hospital-a"
        assert abs(facts["time"] - datetime.now(UTC).timestamp()) < 5
        assert not scene.superlink.asked

    play(actions)


@pytest.mark.parametrize(
    "path", ["register-node", "unregister-node", "../control/start-run", "pull%2Dmessages", "get-run?x=1"]
)
def test_other_paths_are_not_passed_on(play: Any, path: str) -> None:
    async def actions(scene: Any) -> None:
        from yarl import URL

        url = URL(f"https://127.0.0.1:{scene.port}/v1/fleet/{path}", encoded=True)
        async with scene.a.session.post(url, headers=scene.a.headers(), ssl=scene.a.context) as answer:
            assert (answer.status, answer.headers["fedsurg-refused"]) == (404, "path")
        assert not scene.superlink.asked

    play(actions)


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


def use(folder: Path, scene: Any, key: Any, certificate: Any) -> ssl.SSLContext:
    """TLS with another certificate."""
    from fedsurg.joining.certificates import certificate_pem

    pem = folder / "other.pem"
    pem.write_bytes(private_pem(key) + certificate_pem(certificate).encode())
    return client_context(pem, scene.coordinator / "ca.pem")


def test_the_gateways_own_certificate_is_no_clients(play: Any, tmp_path: Path) -> None:
    async def actions(scene: Any) -> None:
        scene.a.context = client_context(scene.coordinator / "private/gateway.pem", scene.coordinator / "ca.pem")
        with pytest.raises(aiohttp.ClientError):
            await scene.a.heartbeat()
        assert not scene.superlink.asked

    play(actions)


def test_a_certificate_that_was_never_written_down_does_not_get_in(play: Any, tmp_path: Path) -> None:
    """Signed by the right authority, but for nobody that the coordinator admitted: a second copy of its key."""
    from server.authority import read_authority

    async def actions(scene: Any) -> None:
        authority = read_authority(scene.coordinator)
        key = ec.generate_private_key(ec.SECP384R1())
        issued = authority.issue_site(key.public_key(), "hospital-a", clock_now(), timedelta(days=1))
        scene.a.context = use(tmp_path, scene, key, issued)
        status, answer = await scene.a.heartbeat()
        assert (status, detail(answer)) == (401, "a certificate that names hospital-a, but was not issued to it")

    play(actions)


def test_a_certificate_that_ends_meanwhile_closes_the_connection(play: Any) -> None:
    async def actions(scene: Any) -> None:
        assert (await scene.a.heartbeat())[0] == 200
        scene.ahead = timedelta(days=366)
        status, answer = await scene.a.heartbeat()
        assert status == 401
        assert detail(answer).startswith("the certificate of hospital-a ended at ")

    play(actions)


def test_a_revocation_acts_on_an_open_connection_of_that_site_alone(play: Any) -> None:
    async def actions(scene: Any) -> None:
        assert (await scene.a.heartbeat())[0] == (await scene.b.heartbeat())[0] == 200
        others = {visitor.site: visitor for visitor in scene.gateway.door.visitors}
        revoke(scene.coordinator, "hospital-a", "laptop lost", clock_now())
        status, answer = await scene.a.heartbeat()
        assert (status, detail(answer)) == (
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
        assert "no list of revoked certificates can be read" in detail(answer)
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


def test_another_sites_key_is_refused(play: Any) -> None:
    async def actions(scene: Any) -> None:
        status, answer = await scene.a.heartbeat(headers=scene.a.headers(key=scene.b.key))
        assert (status, detail(answer)) == (
            401,
            "hospital-a came with a node key that is not the one it joined with",
        )
        wanted = ActivateNodeRequest(public_key=scene.b.pem, heartbeat_interval=30)
        assert (await scene.a.post("activate-node", wanted))[0] == 403
        assert not scene.superlink.asked
        assert '"reason":"forged"' in await scene.audit()

    play(actions)


def test_another_sites_node_is_refused(play: Any) -> None:
    async def actions(scene: Any) -> None:
        await scene.a.activate()
        await scene.b.activate()
        count = len(scene.superlink.asked)
        status, answer = await scene.a.heartbeat(1002)
        assert (status, detail(answer)) == (403, "hospital-a named node 1002, which is the node of hospital-b")
        assert (await scene.a.heartbeat(1003))[0] == 403
        assert (await scene.a.heartbeat(0))[0] == (await scene.a.heartbeat(1))[0] == 403
        assert len(scene.superlink.asked) == count

    play(actions)


def test_a_node_is_learnt_after_a_restart_and_forgotten_when_the_superlink_does(play: Any) -> None:
    async def actions(scene: Any) -> None:
        assert (await scene.a.heartbeat())[0] == 200
        assert (await scene.b.heartbeat(1001))[0] == 403
        scene.superlink.fail = 401
        assert (await scene.a.heartbeat())[0] == 401
        assert '"reason":"node"' in await scene.audit()
        scene.superlink.fail = 0
        assert (await scene.a.heartbeat(2001))[0] == 200

    play(actions)


@pytest.mark.parametrize(
    ("message", "status", "said"),
    [
        (push(1001, 1002), 403, "hospital-a (node 1001) pushed a message from node 1002"),
        (push(1001, 1001, target=1002), 403, "hospital-a pushed a message that answers none of the SuperLink's"),
        (push(1001, 1001, reply_to=""), 403, "hospital-a pushed a message that answers none of the SuperLink's"),
        (push(1001, 1001, count=2), 400, "hospital-a pushed 2 messages at once; it has to be one"),
        (b"\xff\xff", 400, "hospital-a sent a body that is not one of /v1/fleet/push-messages"),
    ],
)
def test_a_forged_message_is_refused(play: Any, message: Any, status: int, said: str) -> None:
    async def actions(scene: Any) -> None:
        await scene.a.activate()
        count = len(scene.superlink.asked)
        found, answer = await scene.a.post("push-messages", message)
        assert (found, detail(answer)) == (status, said)
        assert len(scene.superlink.asked) == count
        assert ('"reason":"forged"' in await scene.audit()) == (status == 403)

    play(actions)


def test_a_body_is_no_longer_than_its_path_allows(play: Any) -> None:
    async def actions(scene: Any) -> None:
        def pushed(size: int) -> bytes:
            content = PushObjectRequest(node=Node(node_id=1001), object_content=bytes(size))
            return bytes(content.SerializeToString())

        assert (await scene.a.post("push-object", pushed(6 << 20)))[0] == 200
        assert (await scene.a.post("push-object", pushed(7 << 20)))[0] == 413

        async def chunks() -> Any:
            for _ in range(7):
                yield bytes(1 << 20)

        url = f"https://127.0.0.1:{scene.port}/v1/fleet/push-object"
        status = 413
        try:
            async with scene.a.session.post(
                url, data=chunks(), headers=scene.a.headers(), ssl=scene.a.context
            ) as answer:
                status = answer.status
        except aiohttp.ClientError:
            pass  # closed while it was still sending
        assert status == 413
        assert (await scene.a.post("get-run", bytes(20 << 10)))[0] == 413
        assert [path for path, _ in scene.superlink.asked] == ["/v1/fleet/push-object"]

    play(actions, gateway="object_mib = 6")


def test_who_asks_too_often_waits(play: Any) -> None:
    async def actions(scene: Any) -> None:
        scene.gateway._allowance = Allowance(1.0, 1e9, lambda: 0.0)
        assert [(await scene.a.heartbeat())[0] for _ in range(12)] == [200] * 10 + [503] * 2
        assert (await scene.b.heartbeat())[0] == 200
        assert json.loads(scene.log().splitlines()[-2])["reason"] == "rate"

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


def test_no_superlink_is_said_so_that_the_node_tries_again(play: Any) -> None:
    async def actions(scene: Any) -> None:
        status, answer = await scene.a.heartbeat()
        assert (status, detail(answer)) == (503, "the SuperLink does not answer; it is being started again")

    play(actions, up=False)


def test_an_error_of_the_superlink_is_one_that_the_node_asks_again_after(play: Any) -> None:
    async def actions(scene: Any) -> None:
        scene.superlink.fail = 500
        status, answer = await scene.a.heartbeat()
        assert (status, detail(answer)) == (503, "the SuperLink failed at a request; it is asked again")
        scene.superlink.fail = 0
        assert (await scene.a.heartbeat())[0] == 200

    play(actions)


def test_a_request_is_taken_once(play: Any) -> None:
    async def actions(scene: Any) -> None:
        headers = scene.a.headers()
        assert (await scene.a.heartbeat(headers=headers))[0] == 200
        status, answer = await scene.a.heartbeat(headers=headers)
        assert (status, detail(answer)) == (
            503,
            "hospital-a sent a request a second time; a new one has to be signed anew",
        )
        # Another signature of the same time is as good to Flower, and no second chance here.
        again = scene.a.headers(at=datetime.fromisoformat(headers["flwr-timestamp"]))
        assert again["flwr-signature"] != headers["flwr-signature"]
        assert (await scene.a.heartbeat(headers=again))[0] == 503
        assert len(scene.superlink.asked) == 1
        assert '"reason":"replayed"' in await scene.audit()

    play(actions)


@pytest.mark.parametrize(("seconds", "status"), [(-400, 401), (-200, 200), (3, 200), (60, 401)])
def test_a_wrong_clock_is_named(play: Any, seconds: int, status: int) -> None:
    async def actions(scene: Any) -> None:
        signed = scene.a.headers(at=datetime.now(UTC) + timedelta(seconds=seconds))
        found, answer = await scene.a.heartbeat(headers=signed)
        assert found == status
        if status == 401:
            side, wanted = ("ahead", seconds) if seconds > 0 else ("behind", -seconds)
            match = re.match(rf"the clock of hospital-a is (\d+) s {side}", detail(answer))
            assert match
            assert abs(int(match[1]) - wanted) < 15

    play(actions)


def test_a_redirection_is_not_followed(play: Any) -> None:
    async def actions(scene: Any) -> None:
        scene.superlink.fail = 307
        assert (await scene.a.heartbeat())[0] == 502

    play(actions)


def test_the_gateways_renewed_certificate_is_used_at_once(play: Any) -> None:
    from server.joining import renew_gateway

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


def test_the_log_of_many_equal_refusals_is_one_audit_line(play: Any) -> None:
    async def actions(scene: Any) -> None:
        for _ in range(5):
            await scene.a.heartbeat(headers=scene.a.headers(key=scene.b.key))
        assert (await scene.audit()).count('"what":"gateway refused"') == 1
        assert len(scene.log().splitlines()) == 5

    play(actions)


def test_a_gateways_certificate_for_another_host_is_not_taken(play: Any) -> None:
    """The hospital's side of it: name and purpose are checked."""
    from server.authority import read_authority

    async def actions(scene: Any) -> None:
        authority = read_authority(scene.coordinator)
        content, _ = gateway_pem(authority, "fl.example.org", clock_now(), timedelta(days=1))
        (scene.coordinator / "private/gateway.pem").write_bytes(content)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await scene.a.heartbeat()

    play(actions)


def test_who_hangs_up_is_in_the_log_too(play: Any) -> None:
    async def actions(scene: Any) -> None:
        scene.superlink.delay = 20
        with pytest.raises(TimeoutError):
            await scene.a.heartbeat(timeout=aiohttp.ClientTimeout(total=1))
        async with asyncio.timeout(5):
            while not scene.log():
                await asyncio.sleep(0.02)
        assert [json.loads(scene.log())[key] for key in ("status", "reason")] == [499, "broken"]

    play(actions)

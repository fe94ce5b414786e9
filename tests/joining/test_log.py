"""Every step of joining is a line of that end's audit log, and is not done without it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from fedsurg.audit import verify_log
from fedsurg.audit.log import AuditLog, account, read_events
from fedsurg.errors import AuditError, JoiningError
from fedsurg.joining.certificates import certificate_facts
from server.joining import invite, make_federation, renew_gateway, retire_superseded, revoke
from server.layout import AUTHORITY, GATEWAY_CERTIFICATES
from server.members import Members


def lines(folder: Path) -> list[dict[str, Any]]:
    verify_log(folder / "audit")
    return list(read_events(folder / "audit"))


def newest(folder: Path) -> tuple[str, dict[str, Any]]:
    line = lines(folder)[-1]
    assert line["who"] == account()
    return line["what"], line["facts"]


def of(path: Path) -> dict[str, str]:
    """What a line says of the newest certificate in a file."""
    return certificate_facts(x509.load_pem_x509_certificates(path.read_bytes())[0])


def test_from_the_invitation_to_the_revocation(world: Any) -> None:
    gateway, authority = of(world.coordinator / GATEWAY_CERTIFICATES), of(world.coordinator / AUTHORITY)
    made = {"at": "fl.example.org:9443", "authority": authority["fingerprint"]}
    assert newest(world.coordinator) == ("federation made", made | gateway)
    invited = {"invitation": world.invite().id, "until": "2026-03-15"}
    assert newest(world.coordinator) == ("site invited", {"site": "hospital-a"} | invited)
    request = {"site": "hospital-a", "request": world.enrol().digest}
    assert newest(world.site()) == ("enrolled", made | request)
    first = certificate_facts(world.admit().certificate)
    assert newest(world.coordinator) == ("site admitted", request | first)
    assert first["until"] == "2027-03-01"
    world.join()
    assert newest(world.site()) == ("federation joined", request | first)
    request["request"] = world.renew().digest
    assert newest(world.site()) == ("renewal asked for", request | {"serial": first["serial"]})
    second = certificate_facts(world.admit().certificate)
    assert second["serial"] != first["serial"]
    assert newest(world.coordinator) == ("certificate renewed", request | second)
    world.join()
    assert newest(world.site()) == ("certificate renewed", request | second)

    retire_superseded(world.coordinator, "hospital-a", int(second["serial"], 16), world.now)
    retired = lines(world.coordinator)[-1]
    assert (retired["who"], retired["what"]) == ("gateway", "superseded")
    assert retired["facts"] == {"site": "hospital-a", "serials": [first["serial"]]}
    revoke(world.coordinator, "hospital-a", "laptop lost", world.now)
    revoked = {"site": "hospital-a", "serials": [first["serial"], second["serial"]]}
    assert newest(world.coordinator) == ("site revoked", revoked)
    assert lines(world.coordinator)[-1]["why"] == "laptop lost"
    renewed = {"at": made["at"]} | certificate_facts(renew_gateway(world.coordinator, world.now))
    assert newest(world.coordinator) == ("gateway's certificate renewed", renewed)


STEPS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "invite": ("coordinator", lambda world: world.invite("hospital-b")),
    "admit": ("coordinator", lambda world: world.admit()),
    "revoke": ("coordinator", lambda world: revoke(world.coordinator, "hospital-a", "", world.now)),
    "renew the gateway": ("coordinator", lambda world: renew_gateway(world.coordinator, world.now)),
    "ask for a renewal": ("hospital-a", lambda world: world.renew()),
    "join": ("hospital-a", lambda world: world.join()),
}


@pytest.mark.parametrize("step", STEPS)
def test_nothing_is_changed_that_cannot_be_logged(world: Any, step: str) -> None:
    end, do = STEPS[step]
    world.joined().renew()
    if step == "join":
        world.admit()
    log, files = world.folder / end / "audit", [world.file(kind) for kind in ("request", "admission")]
    shutil.rmtree(log)
    log.touch()
    before = world.snapshot("coordinator", "hospital-a"), [path.read_bytes() for path in files]
    with pytest.raises(AuditError, match="Nothing that must be logged is done without its line") as caught:
        do(world)
    assert "\n" not in str(caught.value)
    for path, content in zip(files, before[1], strict=True):
        path.write_bytes(content)  # what `world` took away to make room
    assert (world.snapshot("coordinator", "hospital-a"), [path.read_bytes() for path in files]) == before
    log.unlink()
    do(world)
    assert len(lines(world.folder / end)) == 1


def test_a_folder_is_not_made_without_its_log(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.invite()
    before = world.snapshot()

    def full(*_: object, **__: object) -> None:
        raise AuditError("full")

    monkeypatch.setattr(AuditLog, "append", full)
    for make in (world.enrol, lambda: make_federation(world.folder / "new", "fl.example.org", 9443, world.now)):
        with pytest.raises(AuditError, match="full"):
            make()
    assert world.snapshot() == before
    assert not {path.name for path in world.folder.iterdir()} & {"new", "hospital-a", "hospital-a.request"}


def test_what_was_stopped_after_its_line_is_logged_twice(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.invite()
    world.enrol()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Members, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        world.admit()
    monkeypatch.undo()
    done = world.admit()
    stopped, admitted = lines(world.coordinator)[-2:]
    assert stopped["what"] == admitted["what"] == "site admitted"
    assert stopped["facts"]["serial"] != admitted["facts"]["serial"] == certificate_facts(done.certificate)["serial"]


def test_an_invitation_that_could_not_be_written_is_taken_back_in_the_log(world: Any) -> None:
    with pytest.raises(JoiningError, match="cannot be written"):
        invite(world.coordinator, "hospital-a", world.coordinator / "crl.pem" / "x.invite", world.now)
    invited, withdrawn = lines(world.coordinator)[-2:]
    assert (invited["what"], withdrawn["what"]) == ("site invited", "invitation withdrawn")
    assert invited["facts"] == withdrawn["facts"]
    assert Members(world.coordinator).find("hospital-a") is None


def test_the_coordinators_log_says_nothing_of_machines(world: Any) -> None:
    world.joined().renew()
    world.admit()
    revoke(world.coordinator, "hospital-a", "", world.now)
    text = json.dumps(lines(world.coordinator))
    assert str(world.folder) not in text
    assert "PRIVATE" not in text and "BEGIN" not in text


def test_a_log_for_people(world: Any, fedsurg: Callable[..., tuple[int, str, str]]) -> None:
    world.joined()
    ends = (("server", world.coordinator), ("site", world.site()))
    out = "".join(fedsurg(end, "audit", "show", "--dir", folder)[1] for end, folder in ends)
    shown = [line.split("  ", 1)[1] for line in out.splitlines()]
    admitted = lines(world.coordinator)[-1]["facts"]
    request, serial, fingerprint = (admitted[name][:12] for name in ("request", "serial", "fingerprint"))
    certificate = f"certificate {serial}, fingerprint {fingerprint}, until 2027-03-01"
    assert shown[2] == f"{account()}: site admitted, hospital-a, request {request}, {certificate}"
    assert shown[4] == f"{account()}: federation joined, hospital-a, request {request}, {certificate}"
    assert shown[1].startswith(f"{account()}: site invited, hospital-a, invitation ")
    assert shown[0].startswith(f"{account()}: federation made, at fl.example.org:9443, authority ")

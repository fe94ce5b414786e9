"""No private key is in any file that is exchanged, nor on the other end's disk; the token is where it has to be."""

import base64
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_ssh_private_key

from fedsurg.joining.keys import make_key, private_openssh, private_pem, read_private_key


def pem_lines(key: ec.EllipticCurvePrivateKey) -> set[bytes]:
    """Full lines; what is left over at the end is public key and padding."""
    return {line for pem in (private_pem(key), private_openssh(key)) for line in pem.splitlines() if len(line) >= 64}


def forms(key: ec.EllipticCurvePrivateKey) -> list[bytes]:
    """A private key as it could stand in a file: the number in bytes, hex and decimal, and lines of each PEM."""
    number = key.private_numbers().private_value
    raw = number.to_bytes(48)
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    secret = pem_lines(key) - pem_lines(make_key())  # headers are the same for all keys
    return [raw, raw.hex().encode(), str(number).encode(), base64.b64encode(raw), base64.b64encode(der), der, *secret]


def test_private_keys_stay_on_their_machine(world: Any) -> None:
    world.invite()
    world.enrol()
    pending = world.keys()
    world.admit()
    world.join()
    exchanged = [world.file(kind).read_bytes() for kind in ("invite", "request", "admission")]
    world.renew()
    renewed = world.keys()
    world.admit()
    exchanged += [world.file(kind).read_bytes() for kind in ("request", "admission")]

    hospitals = [pending.site, pending.node, renewed.site]
    coordinators = [read_private_key(world.coordinator / "private" / name) for name in ("ca.key", "gateway.pem")]
    for content in exchanged:
        assert b"PRIVATE KEY" not in content
        assert not [form for key in (*hospitals, *coordinators) for form in forms(key) if form in content]
    for end, keys in (("coordinator", hospitals), ("hospital-a", coordinators)):
        for name, content in world.snapshot(end).items():
            assert not [form for key in keys for form in forms(key) if form in content], name
    # The search finds what it looks for.
    own = world.snapshot("hospital-a")
    assert any(form in own["hospital-a/private/pending.key"] for form in forms(renewed.site))
    assert load_ssh_private_key(own["hospital-a/private/node.key"], None).private_numbers() == (
        pending.node.private_numbers()
    )


def test_private_keys_are_in_private_folders_alone(world: Any) -> None:
    world.joined().renew()
    holders = {name for name, content in world.snapshot("coordinator", "hospital-a").items() if b"PRIVATE" in content}
    assert holders == {
        "coordinator/private/ca.key",
        "coordinator/private/gateway.pem",
        "hospital-a/private/identity.pem",
        "hospital-a/private/node.key",
        "hospital-a/private/pending.key",
    }


def test_a_token_is_in_the_invitation_and_with_the_coordinator_until_it_is_used(world: Any) -> None:
    token = world.invite().token.encode()
    world.enrol()
    holders = {name for name, content in world.snapshot().items() if token in content}
    assert holders == {"hospital-a.invite", "coordinator/sites/hospital-a.json"}
    world.admit()
    world.join()
    assert {name for name, content in world.snapshot().items() if token in content} == {"hospital-a.invite"}

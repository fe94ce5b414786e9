"""Keys, signatures and fingerprints: one curve, one hash, private keys that only their owner may read.

All keys are EC P-384: it is what Flower wants of a node, and TLS 1.3 and the usual appliances take it.
"""

import base64
import hashlib
import re
import textwrap
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_public_key,
)

from fedsurg.errors import AlteredError, JoiningError
from fedsurg.joining.folders import require_owner_only

CURVE = ec.SECP384R1
HASH = hashes.SHA384


def make_key() -> ec.EllipticCurvePrivateKey:
    """A new private key."""
    return ec.generate_private_key(CURVE())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key for its file, PKCS 8; the file's permissions protect it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def private_openssh(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A node's private key in the form that `flower-supernode --auth-supernode-private-key` reads."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def public_openssh(key: ec.EllipticCurvePublicKey) -> str:
    """A node's public key in the form that `flwr supernode register` reads, one line."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key (DER), to compare keys with."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def read_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The private key in a PEM file, alone or before certificates.

    Raises:
        ExposedError: others than its owner may read the file.
        JoiningError: no such file, or no private key of ours in it.
    """
    require_owner_only(path)
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as problem:
        raise JoiningError(f"{path}: cannot be read ({problem.strerror}); restore it from a backup") from problem
    except (ValueError, TypeError, UnsupportedAlgorithm) as problem:
        raise JoiningError(f"{path}: holds no private key that can be read; restore it from a backup") from problem
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, CURVE):
        raise JoiningError(f"{path}: not an EC P-384 key; restore the file from a backup")
    return key


def read_node_key(text: str, what: str) -> ec.EllipticCurvePublicKey:
    """A node's public key from its OpenSSH line.

    Raises:
        AlteredError: it is none, or of another curve than P-384.
    """
    try:
        key = load_ssh_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise AlteredError(f"{what}: the node's public key cannot be read; ask for the file again") from problem
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, CURVE):
        raise AlteredError(f"{what}: the node's public key is not EC P-384; ask for the file again")
    return key


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> str:
    """ECDSA signature, base64."""
    return base64.b64encode(key.sign(message, ec.ECDSA(HASH()))).decode()


def is_signed(key: ec.EllipticCurvePublicKey, message: bytes, signature: str) -> bool:
    """`signature` is that of `message` by the owner of `key`."""
    try:
        key.verify(base64.b64decode(signature, validate=True), message, ec.ECDSA(HASH()))
    except (InvalidSignature, ValueError):  # ValueError: no base64
        return False
    return True


def fingerprint(data: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(data).hexdigest()


def grouped(fingerprint: str) -> str:
    """A fingerprint for reading out: sixteen groups of four."""
    return " ".join(textwrap.wrap(fingerprint, 4))


def require_same_fingerprint(given: str, found: str, what: str) -> None:
    """What a person typed in is the fingerprint of what came in the file; spaces and colons do not count.

    Raises:
        JoiningError: it is not a whole fingerprint.
        AlteredError: it is another one.
    """
    typed = re.sub(r"[\s:]", "", given).lower()
    if not re.fullmatch(r"[0-9a-f]{64}", typed):
        raise JoiningError(
            f"--fingerprint {given!r}: a whole fingerprint has 64 of 0-9 and a-f, found {len(typed)} characters; "
            "type all sixteen groups"
        )
    if typed != found:
        raise AlteredError(
            f"{what}: its fingerprint is {grouped(found)}, not the one that was given; if both were read correctly, "
            "the file was exchanged on its way: do not use it, ask for a new one by another channel"
        )

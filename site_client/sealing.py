"""Sealing: bytes encrypted and authenticated with AES-256-GCM under a key that the hospital holds.

A sealed file is a mark, the length of the header, the header in JSON, and the encrypted bytes with their tag. All
before the encrypted bytes is authenticated with them, so no file passes for another study, site, name or round.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fedsurg.errors import VaultError
from fedsurg.files import canonical_json

MARK = b"FEDSURG SEALED 1\n"
KEY_BYTES = 32  # AES-256
NONCE_BYTES = 12  # as GCM wants it; random for each file, which is safe for 2^32 files under one key
MAX_HEADER_BYTES = 4096  # a header has about 300; a damaged length must not ask for memory
_LENGTH_BYTES = 4

# RFC 7914; 128 MiB and about half a second for each guess at a passphrase. A higher cost in a damaged file must not
# take the machine's memory, a lower one must not pass unseen.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 17, 8, 1
SCRYPT_MOST_N = 1 << 20
SALT_BYTES = 16

OTHERS = 0o077  # permission bits of the group and of everyone else


@dataclass(frozen=True)
class Scrypt:
    """How a passphrase becomes a key; stored in the clear beside what the key seals."""

    salt: Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$")]  # checked where a file is read
    n: int = SCRYPT_N
    r: int = SCRYPT_R
    p: int = SCRYPT_P

    @classmethod
    def fresh(cls) -> "Scrypt":
        """With a new random salt."""
        return cls(os.urandom(SALT_BYTES).hex())


def key_of_passphrase(passphrase: str, how: Scrypt) -> bytes:
    """The key of a passphrase.

    Raises:
        VaultError: the passphrase is empty, or the parameters are out of bounds.
    """
    if not passphrase:
        raise VaultError("the passphrase is empty; give the vault's passphrase")
    if not 2 <= how.n <= SCRYPT_MOST_N or (how.r, how.p) != (SCRYPT_R, SCRYPT_P):
        raise VaultError(f"scrypt with n = {how.n}, r = {how.r}, p = {how.p} is out of bounds; restore vault.json")
    memory = 256 * how.n * how.r  # twice what the algorithm takes
    salt = bytes.fromhex(how.salt)
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=how.n, r=how.r, p=how.p, maxmem=memory, dklen=KEY_BYTES)


def make_key_file(path: Path) -> None:
    """A new random key in a new file that its owner alone may read.

    Raises:
        VaultError: the file is there already, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        raise VaultError(f"{path}: no key file made there ({problem.strerror}); choose another path") from problem


def read_key_file(path: Path) -> bytes:
    """The key in a file.

    Raises:
        VaultError: it is missing, has another length, or others than its owner may read it.
    """
    try:
        mode, key = path.stat().st_mode, path.read_bytes()
    except OSError as problem:
        raise VaultError(
            f"{path}: the vault's key cannot be read ({problem.strerror}); bring the file back to this path (vault "
            "commands also take another with --key-file). Without the key nobody can open the vault"
        ) from problem
    if mode & OTHERS:
        raise VaultError(f"{path}: others than its owner may read the key (mode {mode & 0o777:o}); chmod 600 {path}")
    if len(key) != KEY_BYTES:
        raise VaultError(f"{path}: is no vault key: {len(key)} bytes, a key has {KEY_BYTES}; restore it from a backup")
    return key


def key_id(key: bytes) -> str:
    """A name for a key that tells nothing about it."""
    return hashlib.sha256(b"fedsurg vault key\n" + key).hexdigest()[:16]


def seal(key: bytes, content: bytes, facts: Mapping[str, Any]) -> bytes:
    """Encrypt `content` under `key`; `facts` stand in the header, readable and bound to it."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    header = canonical_json({**facts, "key": key_id(key), "nonce": nonce.hex()}).encode()
    front = MARK + len(header).to_bytes(_LENGTH_BYTES, "big") + header
    return front + AESGCM(key).encrypt(nonce, content, front)


def unseal(key: bytes, sealed: bytes, path: Path, facts: Mapping[str, Any]) -> bytes:
    """Decrypt what `seal` made.

    1. It begins with the mark and a whole header.
    2. It was sealed under this key.
    3. Its header holds exactly the expected facts: study, site, name, round.
    4. Tag, header and encrypted bytes belong together: not one bit is another.

    Raises:
        VaultError: naming `path`, the rule, and what to do.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    # 1.
    header, front = read_header(sealed, path)
    # 2.
    if header["key"] != key_id(key):
        raise VaultError(
            f"{path}: is sealed under the key {header['key']}, this one is {key_id(key)}; give the key it was sealed "
            "with (--key-file or passphrase), or restore the file from a backup"
        )
    # 3.
    found = {name: value for name, value in header.items() if name not in ("key", "nonce")}
    if found != dict(facts):
        wrong = sorted(name for name in {*found, *facts} if found.get(name) != facts.get(name))[0]
        raise VaultError(
            f"{path}: is another file than its name says: its {wrong} is {str(found.get(wrong))[:24]!r}, expected "
            f"{str(facts.get(wrong))[:24]!r}; restore it from a backup"
        )
    # 4.
    try:
        return AESGCM(key).decrypt(bytes.fromhex(header["nonce"]), sealed[len(front) :], front)
    except (InvalidTag, ValueError):
        raise VaultError(
            f"{path}: does not open: some of its bytes were changed; restore it from a backup of the vault"
        ) from None


def read_header(sealed: bytes, path: Path) -> tuple[dict[str, Any], bytes]:
    """The header of a sealed file, and all bytes up to its end.

    Raises:
        VaultError: it has none.
    """
    start = len(MARK) + _LENGTH_BYTES
    length = int.from_bytes(sealed[len(MARK) : start], "big")
    front = sealed[: start + length]
    try:
        if not sealed.startswith(MARK) or length > MAX_HEADER_BYTES:
            raise ValueError("no mark")
        header = json.loads(front[start:])
        if not isinstance(header["key"], str) or len(bytes.fromhex(header["nonce"])) != NONCE_BYTES:
            raise ValueError("no key or nonce")
    except (ValueError, KeyError, TypeError):
        raise VaultError(f"{path}: is no sealed file, or its beginning was changed; restore it from a backup") from None
    return header, front

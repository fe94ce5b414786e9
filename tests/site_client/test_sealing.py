"""Sealed bytes open again under their key and for their own place, and every other way is an error; key files."""

from pathlib import Path
from typing import Any

import pytest

from fedsurg.errors import VaultError
from site_client.sealing import KEY_BYTES, key_id, make_key_file, read_key_file, seal, unseal

FACTS = {"study": "ab" * 32, "site": "north", "name": "personal", "round": 3}
KEY = bytes(range(KEY_BYTES))


def test_sealed_bytes_open_and_tell_nothing() -> None:
    sealed = seal(KEY, b"a private tensor", FACTS)
    assert unseal(KEY, sealed, Path("x"), FACTS) == b"a private tensor"
    assert b"private tensor" not in sealed
    assert seal(KEY, b"a private tensor", FACTS) != sealed  # a nonce of its own


def test_every_single_byte_counts() -> None:
    sealed = seal(KEY, b"a private tensor", FACTS)
    for place in range(len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(VaultError, match=r"^a/b\.sealed: .*(restore|give the key)"):
            unseal(KEY, changed, Path("a/b.sealed"), FACTS)
    with pytest.raises(VaultError, match=r"b\.sealed: does not open: some of its bytes were changed; restore it"):
        unseal(KEY, sealed[:-1], Path("b.sealed"), FACTS)


def test_another_key() -> None:
    other = bytes(KEY_BYTES)
    with pytest.raises(VaultError, match=f"is sealed under the key {key_id(KEY)}, this one is {key_id(other)}; give"):
        unseal(other, seal(KEY, b"", FACTS), Path("x"), FACTS)


@pytest.mark.parametrize(("name", "value"), [("study", "cd"), ("site", "south"), ("name", "best"), ("round", 4)])
def test_a_file_passes_for_no_other(name: str, value: Any) -> None:
    message = f"x: is another file than its name says: its {name} is '{str(FACTS[name])[:24]}', expected '{value}'"
    with pytest.raises(VaultError, match=message):
        unseal(KEY, seal(KEY, b"", FACTS), Path("x"), FACTS | {name: value})


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "vault.key"
    make_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(read_key_file(path)) == KEY_BYTES
    with pytest.raises(VaultError, match=r"vault\.key: no key file made there .File exists.; choose another path"):
        make_key_file(path)
    path.chmod(0o640)
    with pytest.raises(VaultError, match=r"others than its owner may read the key .mode 640.; chmod 600"):
        read_key_file(path)
    path.chmod(0o600)
    path.write_bytes(KEY[:-1])
    with pytest.raises(VaultError, match="is no vault key: 31 bytes, a key has 32"):
        read_key_file(path)
    with pytest.raises(VaultError, match=r"the vault's key cannot be read .No such file or directory."):
        read_key_file(tmp_path / "none")

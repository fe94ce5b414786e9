"""The vault: what is sealed opens again, and everything else is an error, never a fresh start."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsurg.audit import AuditLog
from fedsurg.audit.log import Event, read_events
from fedsurg.errors import AuditError, VaultError
from site_client import sealing
from site_client.private_state import PrivateState, PrivateStore
from site_client.rekeying import rekey
from site_client.sealing import make_key_file, read_key_file
from site_client.vault import Vault, make_vault, open_vault
from site_client.vault_key import Secret

STUDY = "ab" * 32


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk; passphrases that are quick to try."""
    monkeypatch.setattr("os.fsync", lambda _handle: None)
    monkeypatch.setattr(sealing.Scrypt, "fresh", lambda: sealing.Scrypt("00" * 16, n=4))


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit", "site north")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "vault"


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    return Secret(tmp_path / "private" / "vault.key")


@pytest.fixture
def vault(folder: Path, secret: Secret, log: AuditLog) -> Vault:
    return make_vault(folder, secret, log)


@pytest.fixture
def store_of(vault: Vault) -> Callable[..., PrivateStore]:
    def make(study: str = STUDY, site: str = "north") -> PrivateStore:
        return PrivateStore(vault.files(study, site), study, site)

    return make


@pytest.fixture
def store(store_of: Callable[..., PrivateStore]) -> PrivateStore:
    """With the states of rounds 1, 2 and 3, of which the newest two are kept."""
    found = store_of()
    for number in (1, 2, 3):
        found.save(state(number))
    return found


def state(number: int) -> PrivateState:
    return PrivateState(number, {"encoder.q.weight": torch.full((2, 2), float(number))}, {})


def file_of(folder: Path, number: int) -> Path:
    (path,) = (folder / STUDY).glob(f"private-round-{number:06d}-*.sealed")
    return path


def names(folder: Path) -> list[str]:
    """Without the random ends."""
    return sorted(path.name.rpartition("-")[0] for path in folder.glob("*.sealed"))


def events(log: AuditLog) -> list[tuple[str, int]]:
    return [(line["what"], line["round"]) for line in read_events(log.folder)]


def test_nothing_lies_in_the_clear(store: PrivateStore, folder: Path) -> None:
    assert names(folder / STUDY) == ["private-round-000002", "private-round-000003"]
    assert all(b"encoder.q.weight" not in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert folder.stat().st_mode & 0o777 == 0o700


def test_what_is_saved_is_found(store: PrivateStore, vault: Vault, log: AuditLog) -> None:
    found = store.before(4)
    assert found is not None
    assert (found.round, found.tensors["encoder.q.weight"][0, 0]) == (3, 3.0)
    assert vault.check() == []
    assert events(log) == [("vault made", 0), *[("private state sealed", number) for number in (1, 2, 3)]]


def test_a_site_that_has_not_begun_begins(store_of: Callable[..., PrivateStore]) -> None:
    late = store_of("cd" * 32)
    assert late.before(5) is None
    assert late.before(7) is None  # nothing was saved yet: the site failed in round 5 and was away in 6


def test_one_flipped_byte(store: PrivateStore, vault: Vault, folder: Path) -> None:
    path = file_of(folder, 3)
    content = path.read_bytes()
    path.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    with pytest.raises(VaultError, match=rf"{path.name}: does not open: some of its bytes were changed; restore it"):
        store.before(4)
    assert vault.check() == [
        f"{path}: does not open: some of its bytes were changed; restore it from a backup of the vault"
    ]


def test_a_missing_state(store: PrivateStore, folder: Path) -> None:
    path = file_of(folder, 3)
    path.unlink()
    with pytest.raises(VaultError, match=rf"{path.name}: belongs to the vault and cannot be read .No such file"):
        store.before(4)


def test_an_older_copy_in_its_place(store: PrivateStore, folder: Path) -> None:
    path = file_of(folder, 3)
    old = path.read_bytes()
    store.before(3)
    store.save(PrivateState(3, {"encoder.q.weight": torch.zeros(2, 2)}, {}))
    file_of(folder, 3).write_bytes(old)
    with pytest.raises(VaultError, match="is an older copy than the one the ledger names; restore the newest"):
        store.before(4)


def test_all_states_gone_is_no_fresh_start(store: PrivateStore, vault: Vault, folder: Path) -> None:
    with vault.locked() as ledger:
        ledger[STUDY].files.clear()
        vault.write_ledger(ledger)
    message = r"began study abababababab in round 1 and has no private state from before round 4 .it has none.; restore"
    with pytest.raises(VaultError, match=message):
        store.before(4)


@pytest.mark.parametrize(("file", "what"), [("ledger.sealed", "cannot be read"), ("vault.json", "is missing")])
def test_a_missing_ledger_or_vault_file(store: PrivateStore, folder: Path, file: str, what: str) -> None:
    (folder / file).unlink()
    with pytest.raises(VaultError, match=rf"{file}: .*{what}"):
        store.before(4)


def test_the_site_goes_back_with_the_server_and_keeps_what_it_had(
    store: PrivateStore, folder: Path, log: AuditLog
) -> None:
    found = store.before(3)
    assert found is not None
    assert found.round == 2
    assert names(folder / STUDY) == ["private-round-000002"]
    assert names(folder / STUDY / "aside") == ["private-round-000003"]
    last = list(read_events(log.folder))[-1]
    assert (last["what"], last["round"]) == ("private state set aside", 3)
    assert last["why"] == "the server works in round 3 again"


def test_going_back_further_than_what_is_kept_is_an_error(store: PrivateStore, folder: Path) -> None:
    with pytest.raises(VaultError, match=r"no private state from before round 2 .it has \[2, 3\].; restore .* forget"):
        store.before(2)
    assert names(folder / STUDY) == ["private-round-000002", "private-round-000003"]


def test_the_server_begins_the_study_again(store: PrivateStore, folder: Path) -> None:
    assert store.before(1) is None
    assert names(folder / STUDY / "aside") == ["private-round-000002", "private-round-000003"]
    assert store.before(2) is None  # the site missed the new round 1
    store.save(state(2))
    with pytest.raises(VaultError, match="began study abababababab in round 2"):
        PrivateStore.before(_emptied(store), 3)


def _emptied(store: PrivateStore) -> PrivateStore:
    files: Any = store._files
    with files._vault.locked() as ledger:
        ledger[STUDY].files.clear()
        files._vault.write_ledger(ledger)
    return store


def test_a_crash_between_file_and_ledger(store: PrivateStore, vault: Vault, folder: Path, log: AuditLog) -> None:
    def crash(_ledger: object) -> None:
        raise KeyboardInterrupt

    vault.write_ledger = crash  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        store.save(state(4))
    del vault.write_ledger
    found = store.before(5)
    assert found is not None
    assert found.round == 3
    store.save(state(5))
    assert names(folder / STUDY / "aside") == ["private-round-000004"]
    assert ("unknown file set aside", 0) in events(log)


def test_the_disk_is_full(store: PrivateStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(VaultError, match="No space left on device"):
        store.save(state(4))
    monkeypatch.undo()
    found = store.before(4)
    assert found is not None
    assert found.round == 3


def test_another_site_or_study(store: PrivateStore, store_of: Callable[..., PrivateStore]) -> None:
    with pytest.raises(VaultError, match="its site is 'north', expected 'south'"):
        store_of(site="south").before(4)


def test_a_digest_that_is_a_path(vault: Vault) -> None:
    with pytest.raises(VaultError, match="is no digest of a study"):
        vault.files("../elsewhere", "north")


def test_a_vault_opens_with_its_key_alone(
    vault: Vault, folder: Path, secret: Secret, log: AuditLog, tmp_path: Path
) -> None:
    assert open_vault(folder, log).studies() == []
    make_key_file(tmp_path / "other.key")
    with pytest.raises(VaultError, match=r"other\.key is not this vault's key .*; give that one"):
        open_vault(folder, log, Secret(tmp_path / "other.key"))
    with pytest.raises(VaultError, match="opens with a key file, not with a passphrase"):
        open_vault(folder, log, Secret(passphrase="horse"))
    with pytest.raises(VaultError, match="holds a vault already; change its key"):
        make_vault(folder, secret, log)
    with pytest.raises(VaultError, match=r"vault\.json: is missing; make a vault with fedsurg site vault init"):
        open_vault(tmp_path / "none", log)


def test_a_passphrase(folder: Path, log: AuditLog) -> None:
    make_vault(folder, Secret(passphrase="horse"), log)
    assert json.loads((folder / "vault.json").read_text())["scrypt"] == {"n": 4, "p": 1, "r": 8, "salt": "00" * 16}
    assert open_vault(folder, log, Secret(passphrase="horse")).studies() == []
    with pytest.raises(VaultError, match="the passphrase is not this vault's key"):
        open_vault(folder, log, Secret(passphrase="hors"))
    with pytest.raises(VaultError, match="opens with a passphrase; put it in a file of mode 600"):
        open_vault(folder, log)


def test_costs_out_of_bounds(folder: Path, log: AuditLog) -> None:
    make_vault(folder, Secret(passphrase="horse"), log)
    path = folder / "vault.json"
    path.write_text(path.read_text().replace('"n": 4', '"n": 1073741824').replace('"n":4', '"n":1073741824'))
    with pytest.raises(
        VaultError, match=r"scrypt with n = 1073741824, r = 8, p = 1 is out of bounds; restore vault\.json"
    ):
        open_vault(folder, log, Secret(passphrase="horse"))


def test_a_new_key(store: PrivateStore, vault: Vault, folder: Path, log: AuditLog, tmp_path: Path) -> None:
    store.before(3)
    new = Secret(tmp_path / "new.key")
    assert rekey(folder, None, new, log) == 3  # ledger, one state, one aside
    with pytest.raises(VaultError, match="the key is being changed, or was since this process began; restart it"):
        store.before(3)
    fresh = open_vault(folder, log)
    assert fresh.check() == []
    found = PrivateStore(fresh.files(STUDY, "north"), STUDY, "north").before(3)
    assert found is not None
    assert found.round == 2
    assert read_key_file(tmp_path / "new.key") != read_key_file(tmp_path / "private" / "vault.key")
    assert events(log)[-1] == ("vault key changed", 0)
    with pytest.raises(VaultError, match="the new key is the old one"):
        rekey(folder, None, new, log)


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_change_of_key_that_crashed_is_finished(
    store: PrivateStore, folder: Path, log: AuditLog, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    from fedsurg.files import write_atomic

    written: list[Path] = []

    def crash(path: Path, content: bytes, **options: Any) -> None:
        if len(written) == after:
            raise KeyboardInterrupt
        written.append(path)
        write_atomic(path, content, **options)

    new = Secret(passphrase="staple")
    with monkeypatch.context() as patch:
        patch.setattr("site_client.rekeying.write_atomic", crash)
        with pytest.raises(KeyboardInterrupt):
            if after == 3:  # all files, but not the last word
                patch.setattr("site_client.rekeying.write_vault_file", _crash_at_second(2))
            rekey(folder, None, new, log)
    with pytest.raises(VaultError, match="a change of key was interrupted; finish it with"):
        open_vault(folder, log)
    with pytest.raises(VaultError, match="a change to another new key was begun"):
        rekey(folder, None, Secret(passphrase="stapel"), log)
    rekey(folder, None, new, log)
    fresh = open_vault(folder, log, new)
    found = PrivateStore(fresh.files(STUDY, "north"), STUDY, "north").before(4)
    assert found is not None
    assert (found.round, fresh.check()) == (3, [])


def _crash_at_second(which: int) -> Callable[..., None]:
    from site_client.vault_key import write_vault_file

    calls: list[int] = []

    def write(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == which:
            raise KeyboardInterrupt
        write_vault_file(*arguments)

    return write


def test_forgetting_on_a_persons_word(store: PrivateStore, vault: Vault, folder: Path, log: AuditLog) -> None:
    file_of(folder, 3).unlink()
    assert vault.forget(STUDY) == 2
    assert store.before(4) is None
    assert names(folder / STUDY / "aside") == ["private-round-000002"]
    assert events(log)[-1] == ("private state forgotten", 0)
    with pytest.raises(VaultError, match="has nothing of study abababababab"):
        vault.forget(STUDY)


def test_what_cannot_be_logged_is_not_done(
    store: PrivateStore, vault: Vault, folder: Path, log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_log: AuditLog, _event: Event, **_options: Any) -> None:
        raise AuditError("the log cannot be written")

    new = Secret(key_file=tmp_path / "new.key")
    with monkeypatch.context() as patch:
        patch.setattr(AuditLog, "append", broken)
        with pytest.raises(AuditError):
            vault.forget(STUDY)
        assert store.before(4) is not None
        with pytest.raises(AuditError):
            rekey(folder, None, new, log)
    assert open_vault(folder, log).check() == []


def test_a_change_of_key_whose_end_cannot_be_logged_is_done(
    store: PrivateStore, folder: Path, log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = AuditLog.append

    def once(own: AuditLog, event: Event, **options: Any) -> Any:
        if event.what == "vault key changed":
            raise AuditError("the disk is full")
        return append(own, event, **options)

    new = Secret(key_file=tmp_path / "new.key")
    monkeypatch.setattr(AuditLog, "append", once)
    with pytest.raises(AuditError, match="all is sealed under the new key, but that could not be logged: the disk"):
        rekey(folder, None, new, log)
    assert open_vault(folder, log, new).check() == []
    assert events(log)[-1] == ("vault key change begun", 0)


def test_a_damaged_salt_is_a_damaged_file(tmp_path: Path, log: AuditLog) -> None:
    secret = Secret(passphrase="staple")
    make_vault(tmp_path / "other", secret, log)
    path = tmp_path / "other" / "vault.json"
    values = json.loads(path.read_text())
    values["scrypt"]["salt"] = "zz" + values["scrypt"]["salt"][2:]
    path.write_text(json.dumps(values))
    with pytest.raises(VaultError, match=r"vault\.json: .*; it is damaged, restore it from a backup"):
        open_vault(tmp_path / "other", log, secret)


def test_an_engine_keeps_everything_in_the_vault(
    make_engine: Callable[..., Any], request_of: Callable[..., Any], vault: Vault, folder: Path, tmp_path: Path
) -> None:
    """The same numbers as in the clear, and no file beside the vault."""
    plain = make_engine("fedst", evaluation__choose="best")
    sealed = make_engine("fedst", "sealed", evaluation__choose="best", files=vault.files("study", "north"))
    from fedsurg.learning.exchange import give_shared

    packed = give_shared(plain.network, plain.contract).pack()
    for number, work in ((1, "train"), (2, "train"), (3, "finish")):
        plain.work(request_of(plain, number, work), packed)
        sealed.work(request_of(sealed, number, work), packed)
    for name, value in plain.personal_model().items():
        assert torch.equal(value, sealed.personal_model()[name])
    assert not (tmp_path / "sealed").exists()
    assert names(folder / "study") == ["best", "personal", "private-round-000001", "private-round-000002"]

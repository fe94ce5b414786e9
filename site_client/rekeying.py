"""Another key for a vault: everything in it is sealed anew, and a crash on the way is finished by the same call."""

from pathlib import Path

from fedsurg.audit.log import AuditLog, Event
from fedsurg.errors import AuditError, VaultError
from fedsurg.files import write_atomic
from site_client.ledger import SUFFIX, bytes_of
from site_client.sealing import make_key_file, read_header, seal, unseal
from site_client.vault import locked_vault
from site_client.vault_key import Secret, VaultFile, facts_of, key_for, read_vault_file, write_vault_file


def rekey(folder: Path, old: Secret | None, new: Secret, audit: AuditLog) -> int:
    """Seal everything under a new key; returns how many files. After a crash, the same call finishes the work.

    1. The old key is this vault's; the new one, if the change was begun before, is the one it was begun with.
    2. The change is logged and written down, so nobody uses the vault until it is done.
    3. Each file is sealed anew, in its place; what has the new key already is left.
    4. So is the ledger. It holds digests of contents, not of sealed bytes: they are the same as before.
    5. The change is done, and logged as such.

    Raises:
        VaultError: a key is wrong, or a file does not open; nothing is lost, and the old key is still needed.
        AuditError: the change cannot be logged, so nothing was changed; or its end cannot.
    """
    with locked_vault(folder):
        # 1.
        facts = read_vault_file(folder)
        old_key = key_for(folder, facts, old)
        if new.key_file and not new.key_file.exists() and not facts.next:
            make_key_file(new.key_file)
        fresh, new_key = facts_of(new, facts.next.scrypt if facts.next else None)
        if facts.next and fresh.key != facts.next.key:
            raise VaultError(f"{folder}: a change to another new key was begun; finish it with that one")
        if new_key == old_key:
            raise VaultError(f"{folder}: the new key is the old one; give another")
        # 2.
        keys = {"from": facts.key, "to": fresh.key}
        if not facts.next:
            audit.append(Event("vault key change begun", facts=keys))
        write_vault_file(folder, facts.model_copy(update={"next": fresh}))
        # 3. and 4.
        paths = sorted(folder.rglob(f"[!.]*{SUFFIX}"))
        for path in paths:
            sealed = bytes_of(path)
            header, _ = read_header(sealed, path)
            if header["key"] == fresh.key:
                continue
            known = {name: value for name, value in header.items() if name not in ("key", "nonce")}
            content = unseal(old_key, sealed, path, known)
            write_atomic(path, seal(new_key, content, known), error=VaultError)
        # 5.
        write_vault_file(folder, VaultFile(**dict(fresh)))
    try:
        audit.append(Event("vault key changed", facts=keys | {"files": len(paths)}))
    except AuditError as problem:
        raise AuditError(
            f"{folder}: all is sealed under the new key, but that could not be logged: {problem}"
        ) from problem
    return len(paths)

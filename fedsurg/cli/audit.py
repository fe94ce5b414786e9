"""`fedsurg site audit` and `fedsurg server audit`: the same commands on the log of either end."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedsurg.audit.log import FOLDER
from fedsurg.cli.options import folder_option
from fedsurg.errors import one_line

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from fedsurg.audit.heads import SignedHead

_Function = Callable[..., None]

SHOWN = {  # facts that a sentence holds, and the words before them; --json prints all
    "site": "",
    "sites": "sites",
    "log": "of",
    "at": "at",
    "name": "",
    "method": "method",
    "authority": "authority",
    "invitation": "invitation",
    "request": "request",
    "serial": "certificate",
    "serials": "certificates",
    "fingerprint": "fingerprint",
    "until": "until",
}
_LONG = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b")  # hashes, fingerprints, serial numbers


@dataclass(frozen=True)
class _End:
    """`site` or `server`, its directory by default, and the file there that holds its certificates."""

    name: str
    directory: str
    certificate: str

    @property
    def in_folder(self) -> Callable[[Any], Any]:
        """The option `--dir`."""
        return folder_option(self.directory, f"The directory of this {self.name}.")


def audit_group(end: str, directory: str, certificate: str) -> click.Group:
    """The group `audit` for one end.

    Args:
        end: `site` or `server`, as on the command line.
        directory: of that end, by default.
        certificate: file in that directory with every certificate the end has had.
    """
    group = click.Group("audit", help="The audit log: verify it, show it, take out the other end's signed heads.")
    for command in (_verify, _show, _heads, _accept):
        group.add_command(command(_End(end, directory, certificate)))
    return group


def _verify(end: _End) -> click.Command:
    @click.command(epilog=f"Example: fedsurg {end.name} audit verify --heads heads.jsonl")
    @end.in_folder
    @click.option(
        "--heads",
        "heads_file",
        type=click.Path(path_type=Path),
        help="Signed heads of this log that the other end kept.",
    )
    @click.option(
        "--certificate",
        "certificates",
        type=click.Path(path_type=Path),
        multiple=True,
        help=f"Certificate that signed them; give earlier ones too. [default: {end.certificate} in the directory]",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    def verify(folder: Path, heads_file: Path | None, certificates: tuple[Path, ...], as_json: bool) -> None:
        """Check every line of the log, from the first on.

        Exit code 0: all is well. 1: a line is missing or was changed; the first such line is named.
        """
        from fedsurg.audit.verify import verify_log

        heads = read_heads(heads_file) if heads_file else []
        known = (
            [one for path in certificates or (folder / end.certificate,) for one in load_certificates(path)]
            if heads
            else []
        )
        found = verify_log(folder / FOLDER, heads, known)
        for note in found.notes:
            click.echo(f"note: {note}", err=True)
        if as_json:
            facts = {"lines": found.head.sequence, "sha256": found.head.sha256, "files": found.files}
            click.echo(json.dumps(facts | {"heads": found.heads, "notes": found.notes}, indent=2))
            return
        files = "1 file" if found.files == 1 else f"{found.files} files"
        click.echo(f"ok: {found.head.sequence} lines in {files}, {found.heads} signed heads fit")
        click.echo(f"head: line {found.head.sequence}, {found.head.sha256}")

    return verify


def _show(end: _End) -> click.Command:
    @click.command(epilog=f"Example: fedsurg {end.name} audit show --since 2026-03-01 --json")
    @end.in_folder
    @click.option(
        "--since", help="A date or time (UTC), such as 2026-03-01 or 2026-03-01T12:00; default: the beginning."
    )
    @click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as in the log.")
    def show(folder: Path, since: str | None, as_json: bool) -> None:
        """Print the events of the log, oldest first. It is not verified here.

        Exit code 0; 1: there is no log, or a line cannot be read; 2: the time cannot be read.
        """
        from fedsurg.audit.log import log_files, read_events
        from fedsurg.errors import AuditError

        begin = _time(since) if since else ""
        if not log_files(folder / FOLDER):
            raise AuditError(f"{folder / FOLDER}: holds no audit log; give the folder with --dir")
        for line in read_events(folder / FOLDER):
            if line["time"] >= begin:
                click.echo(json.dumps(line) if as_json else _sentence(line))

    return show


def _heads(end: _End) -> click.Command:
    @click.command(epilog=f"Example: fedsurg {end.name} audit heads hospital-a --out heads.jsonl")
    @end.in_folder
    @click.argument("name")
    @click.option("--out", type=click.Path(path_type=Path), help="File to write; default: print.")
    def heads(folder: Path, name: str, out: Path | None) -> None:
        """The signed heads that this log has kept of the log NAME, for the other end's audit verify --heads.

        Exit code 0; 1: there are none, or the log cannot be read.
        """
        from fedsurg.audit.heads import kept_heads
        from fedsurg.errors import AuditError
        from fedsurg.files import canonical_json, write_atomic

        lines = [canonical_json(head.facts()) for head in kept_heads(folder / FOLDER, name)]
        if not lines:
            raise AuditError(f"{folder / FOLDER}: has no head of a log {name!r}; names stand in audit show")
        if out:
            write_atomic(out, "\n".join(lines) + "\n", error=AuditError)
        click.echo(f"{out}: {len(lines)} heads" if out else "\n".join(lines))

    return heads


def _accept(end: _End) -> click.Command:
    other = "coordinator" if end.name == "site" else "hospital-a"

    @click.command(
        epilog=f"Example: fedsurg {end.name} audit accept {other} --reason 'disk lost, restored from a backup'"
    )
    @end.in_folder
    @click.argument("name")
    @click.option("--reason", required=True, help="Kept in the log.")
    def accept(folder: Path, name: str, reason: str) -> None:
        """Accept that the other end's log NAME begins anew, or goes on from an older copy, after a loss there.

        Until then nothing of an end is taken whose log went back. Ask by phone before: a log that was rewritten looks
        the same. The heads kept so far stay in this log.

        Exit code 0; 1: no head of such a log was kept, or the log cannot be written.
        """
        from fedsurg.audit.heads import accept_new_log
        from fedsurg.audit.log import AuditLog, account

        count = accept_new_log(AuditLog(folder / FOLDER, end.name), name, reason, account())
        click.echo(f"{name}: its log may begin anew; the {count} heads kept so far stay in this log")

    return accept


def read_heads(path: Path) -> list["SignedHead"]:
    """The signed heads of a file, one JSON object a line.

    Raises:
        AuditError: it cannot be read, or a line is no head.
    """
    from fedsurg.audit.heads import SignedHead
    from fedsurg.errors import AuditError

    found = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            values: Any = json.loads(line)
            if not isinstance(values, Mapping):
                raise AuditError(f"{path}: line {number}: is no signed head")
            found.append(SignedHead.from_facts(values))
    except (OSError, ValueError, RecursionError) as problem:
        raise AuditError(f"{path}: cannot be read ({problem}); make it with audit heads at the other end") from problem
    return found


def load_certificates(path: Path) -> Iterable["Certificate"]:
    """All certificates of a PEM file: those an end has had.

    Raises:
        AuditError: it cannot be read, or holds none.
    """
    from cryptography.x509 import load_pem_x509_certificates

    from fedsurg.errors import AuditError

    try:
        return load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as problem:
        raise AuditError(f"{path}: holds no certificate ({problem}); give the PEM file with --certificate") from problem


def _time(text: str) -> str:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--since {text!r} is no time; write it like 2026-03-01 or 2026-03-01T12:00") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="milliseconds")


def _sentence(line: Mapping[str, Any]) -> str:
    """One event for a person; nothing in it can steer the terminal."""
    parts = [f"{line['time'][:19].replace('T', ' ')}  {line['who']}: {line['what']}"]
    facts = line["facts"] if isinstance(line["facts"], dict) else {}
    for name, word in SHOWN.items():
        if value := facts.get(name):
            text = " ".join(map(str, value if isinstance(value, list) else [value]))
            parts.append(_LONG.sub(r"\1", f"{word} {text}").strip())
    if line["study"]:
        parts.append(f"study {line['study'][:12]}")
    if line["round"]:
        parts.append(f"round {line['round']}")
    if line["sha256"]:
        parts.append(f"{line['bytes']:,} bytes, sha256 {line['sha256'][:12]}")
    if line["why"]:
        parts.append(line["why"])
    return one_line(", ".join(parts))

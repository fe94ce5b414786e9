"""`fedsurg site`: what a hospital decides about studies, and what it keeps of them."""

import getpass
import json
import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedsurg.audit.log import account
from fedsurg.cli.audit import audit_group
from site_client.layout import CERTIFICATES, DIRECTORY, VAULT
from site_client.options import in_folder

if TYPE_CHECKING:
    from fedsurg.study.config import Study

audit = audit_group("site", DIRECTORY, CERTIFICATES)

_study_file = click.argument("study_file", metavar="STUDY.toml", type=click.Path(path_type=Path))
_method = click.option("--method", help="Method to review or approve; default: the study's first one.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command(epilog="Example: fedsurg site review study.toml --tensors")
@_study_file
@in_folder
@_method
@click.option("--tensors", is_flag=True, help="List every tensor that leaves, by name and shape.")
@_json
def review(study_file: Path, folder: Path, method: str | None, tensors: bool, as_json: bool) -> None:
    """Say in plain words what a study trains, what leaves the hospital, and what stays.

    Exit code 0; 2: the study has a mistake, has no start file or does not name this site; 4: --dir is no site's folder;
    5: policy.toml has a mistake.
    """
    from site_client.policy import read_policy
    from site_client.review import review_facts, review_text

    study, name, found, contract = _described(study_file, folder, method)
    facts = review_facts(study, found["digest"], name, contract, read_policy(folder))
    click.echo(json.dumps(facts, indent=2) if as_json else review_text(facts, tensors=tensors))


@click.command(epilog='Example: fedsurg site approve study.toml --expires 2026-12-31 --second-approver "B. Keller"')
@_study_file
@in_folder
@_method
@click.option("--max-rounds", type=int, help="Rounds that may train here; default: all of the study.")
@click.option("--expires", help="Last day, like 2026-12-31 (UTC); default: in 180 days.")
@click.option("--approver", help="Who approves; default: the name this machine knows you by.")
@click.option(
    "--second-approver",
    default="",
    help="Another person who approves too; at once, or by the same command later.",
)
def approve(
    study_file: Path,
    folder: Path,
    method: str | None,
    max_rounds: int | None,
    expires: str | None,
    approver: str | None,
    second_approver: str,
) -> None:
    """Approve a study: from now on this site answers its requests, within the limits given.

    Exit code 0; 1: it cannot be logged; 2: the study has a mistake, has no start file or does not name this site; 4:
    --dir is no site's folder; 5: the approval makes no sense.
    """
    from fedsurg.audit.log import Event
    from site_client.approvals import Approval, Approvals
    from site_client.policy import read_policy
    from site_client.site_folder import site_log

    study, name, _, contract = _described(study_file, folder, method)
    approvals, config = Approvals(folder), read_policy(folder)

    def state(approval: Approval) -> str:
        return approval.state(today=approvals.today, two_approvers=config.two_approvers)

    def announce(approval: Approval) -> None:
        facts = approval.model_dump(mode="json", exclude={"study", "revoked", "revoked_by"})
        event = Event("study approved", study=approval.study, why=state(approval), facts=facts)
        site_log(folder).append(event, who=account())

    approval = approvals.approve(
        study,
        name,
        contract.digest,
        approver or _account(),
        second=second_approver,
        max_rounds=max_rounds,
        expires=_day(expires),
        announce=announce,
    )
    click.echo(f"{study.name} ({approval.study[:12]}), method {name}: {state(approval)}")
    click.echo(f"{approval.max_rounds} of {approval.rounds} rounds, until {approval.expires}, by {_people(approval)}")
    click.echo(f"to close it again: fedsurg site revoke {approval.study[:12]}")


@click.command(epilog="Example: fedsurg site approvals --json")
@in_folder
@_json
def approvals(folder: Path, as_json: bool) -> None:
    """List what was approved here, and whether it is open.

    Exit code 0; 4: --dir is no site's folder; 5: a file of an approval is damaged.
    """
    from site_client.approvals import Approvals
    from site_client.policy import read_policy

    site_name(folder)
    known, config = Approvals(folder), read_policy(folder)
    rows = [
        one.model_dump(mode="json") | {"state": one.state(today=known.today, two_approvers=config.two_approvers)}
        for one in known.all()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(
            f"{row['study'][:12]}  {row['name']:<20} {row['method']:<14} {row['max_rounds']:>4} rounds  until "
            f"{row['expires']}  {row['state']}"
        )
    if not rows:
        click.echo("no study is approved here; every request is refused")


@click.command(epilog="Example: fedsurg site revoke 3f9a01c2")
@click.argument("study", metavar="STUDY")
@in_folder
def revoke(study: str, folder: Path) -> None:
    """Close a study at once: STUDY is its digest, or its first 8 characters or more.

    Exit code 0; 1: it is closed, but that cannot be logged; 4: --dir is no site's folder; 5: no such study was
    approved here.
    """
    from fedsurg.audit.log import Event
    from site_client.approvals import Approvals
    from site_client.site_folder import site_log

    site_name(folder)
    known = Approvals(folder)
    approval = known.revoke(known.find(study), account())
    site_log(folder).append(Event("study revoked", study=approval.study, why="a person asked for it"), who=account())
    click.echo(
        f"{approval.name} ({approval.study[:12]}): revoked; from now on no request is answered, and nothing leaves"
    )


@click.command(epilog="Example: fedsurg site export --study 3f9a01c2 --out model/")
@click.option("--study", "digest", required=True, help="Digest of the study, or its first 8 characters or more.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the model and its card.")
@in_folder
@click.option("--key-file", type=click.Path(path_type=Path), help="Of the vault; default: the one it was made with.")
@click.option("--passphrase-file", type=click.Path(path_type=Path), help="Of the vault, where it has a passphrase.")
def export(digest: str, out: Path, folder: Path, key_file: Path | None, passphrase_file: Path | None) -> None:
    """Write the personalised model of a finished study as safetensors, with a model card.

    Outside the vault the model is in the clear. Exit code 0; 1: the vault does not open or has no model; 5: the study
    is not known here.
    """
    from fedsurg.audit.log import Event
    from fedsurg.errors import VaultError
    from site_client.approvals import Approvals
    from site_client.engine import PERSONAL
    from site_client.model_card import export_model
    from site_client.site_folder import site_log
    from site_client.vault import open_vault
    from site_client.vault_key import secret_of

    known, log = Approvals(folder), site_log(folder)
    found = known.find(digest)
    approval, study = known.read(found), known.study(found)
    vault = open_vault(folder / VAULT, log, secret_of(key_file, passphrase_file))
    name = site_name(folder)
    files = vault.files(found, name)
    if PERSONAL not in files.names():
        raise VaultError(f"study {study.name} ({found[:12]}) has not finished here: there is no personalised model yet")
    tensors, facts = files.read(PERSONAL)

    def announce(sha256: str, size: int) -> None:
        log.append(Event("model exported", found, 0, sha256, size, facts={"to": str(out)}), who=account())

    sha256, size = export_model(out, name, study, found, approval.method, tensors, facts, announce)
    click.echo(f"{out}: model.safetensors ({size:,} bytes, sha256 {sha256[:12]}) and README.md, in the clear")


def site_name(folder: Path) -> str:
    """The site's name, as it was enrolled.

    Raises:
        JoiningError: the folder is no site's, or others may enter it.
    """
    from site_client.site_folder import read_membership

    return read_membership(folder).site


def _described(study_file: Path, folder: Path, method: str | None) -> tuple["Study", str, dict[str, Any], Any]:
    """The study as it is run here, the method, and the facts and contract of the two.

    Raises:
        StudyError: the study has a mistake, cannot run between hospitals, or does not name this site.
    """
    from fedsurg.methods.facts import facts_of
    from fedsurg.study_file.deployed import federated_site, method_of, require_deployable
    from fedsurg.study_file.load import load_study
    from fedsurg.study_file.paths import with_absolute_paths

    study = with_absolute_paths(load_study(study_file))
    name = method_of(study, method, str(study_file))
    require_deployable(study, name, str(study_file))
    federated_site(study, site_name(folder), str(study_file))
    facts, contract = facts_of(study, name)
    return study, name, facts, contract


def _account() -> str:
    """The name of this account; its number where it has none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise click.UsageError(f"--expires {text!r} is no day; write it like 2026-12-31") from None


def _people(approval: Any) -> str:
    return " and ".join(filter(None, (approval.approver, approval.second_approver)))

"""`fedsurg site vault`: make the vault, check it, change its key, forget a study."""

import getpass
from pathlib import Path

import click

from site_client.layout import PASSPHRASE, VAULT, VAULT_KEY
from site_client.options import in_folder
from site_client.study_cli import site_name

_key_file = click.option(
    "--key-file", type=click.Path(path_type=Path), help="The vault's key; default: the file it was made with."
)
_passphrase_file = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    help=f"File (mode 600) with the vault's passphrase; default: the one that {PASSPHRASE} names.",
)


@click.group()
def vault() -> None:
    """The vault: private state and models, encrypted on this machine."""


@vault.command(epilog="Example: fedsurg site vault init --key-file /media/key/vault.key")
@in_folder
@click.option(
    "--key-file", type=click.Path(path_type=Path), help=f"Key, made if missing. [default: {VAULT_KEY} in --dir]"
)
@click.option("--passphrase", is_flag=True, help="Take a passphrase instead, typed or from --passphrase-file.")
@_passphrase_file
def init(folder: Path, key_file: Path | None, passphrase: bool, passphrase_file: Path | None) -> None:
    """Make the vault.

    Keep a copy of the key elsewhere: without it nobody can open the vault. Exit code 0; 1: there is one already; 4:
    --dir is no site's folder.
    """
    from site_client.site_folder import site_log
    from site_client.vault import make_vault
    from site_client.vault_key import Secret, secret_of

    site_name(folder)
    if passphrase or passphrase_file:
        secret = secret_of(None, passphrase_file) or Secret(passphrase=_typed("passphrase of the vault"))
    else:
        secret = Secret(key_file or folder / VAULT_KEY)
    make_vault(folder / VAULT, secret, site_log(folder))
    kept = f"key {secret.key_file}: keep a copy elsewhere" if secret.key_file else "passphrase: keep it elsewhere"
    click.echo(f"{folder / VAULT}: made; {kept}")


@vault.command(epilog="Example: fedsurg site vault check")
@in_folder
@_key_file
@_passphrase_file
def check(folder: Path, key_file: Path | None, passphrase_file: Path | None) -> int:
    """Open every file in the vault.

    Exit code 0: all open. 1: the vault or a file does not; each is named.
    """
    from site_client.site_folder import site_log
    from site_client.vault import open_vault
    from site_client.vault_key import secret_of

    opened = open_vault(folder / VAULT, site_log(folder), secret_of(key_file, passphrase_file))
    wrong = opened.check()
    for line in wrong:
        click.echo(line, err=True)
    for study in opened.studies():
        click.echo(study)
    click.echo(f"{len(wrong)} files do not open" if wrong else "ok: every file opens")
    return int(bool(wrong))


@vault.command(epilog="Example: fedsurg site vault rekey --new-key-file /media/key/new.key")
@in_folder
@_key_file
@_passphrase_file
@click.option("--new-key-file", type=click.Path(path_type=Path), help="The new key; made if missing.")
@click.option("--new-passphrase", is_flag=True, help="A new passphrase, typed.")
@click.option(
    "--new-passphrase-file", type=click.Path(path_type=Path), help="A new passphrase, from a file of mode 600."
)
def rekey(
    folder: Path,
    key_file: Path | None,
    passphrase_file: Path | None,
    new_key_file: Path | None,
    new_passphrase: bool,
    new_passphrase_file: Path | None,
) -> None:
    """Seal everything under a new key. Stop the site first; after a crash give the same command again.

    The disk may still hold old bytes under the old key: keep that key safe, or destroy it. Exit code 0; 1: a key is
    wrong or a file does not open; 2: no new key was given; 6: the site runs.
    """
    from fedsurg.errors import SupervisionError
    from fedsurg.supervision import supervisor_of
    from site_client.layout import RUN
    from site_client.rekeying import rekey as seal_anew
    from site_client.site_folder import site_log
    from site_client.vault_key import Secret, passphrase_in, secret_of

    if sum(map(bool, (new_key_file, new_passphrase, new_passphrase_file))) != 1:
        raise click.UsageError("give one of --new-key-file, --new-passphrase and --new-passphrase-file")
    if supervisor_of(folder / RUN) is not None:
        raise SupervisionError(f"{folder}: the site runs, with the old key; run fedsurg site stop first")
    old = secret_of(key_file, passphrase_file)
    if new_key_file:
        new = Secret(new_key_file)
    elif new_passphrase_file:
        new = Secret(passphrase=passphrase_in(new_passphrase_file))
    else:
        new = Secret(passphrase=_typed("new passphrase"))
    count = seal_anew(folder / VAULT, old, new, site_log(folder))
    click.echo(f"{folder / VAULT}: {count} files are sealed under the new key")
    if new_key_file:
        click.echo(f"from now on it is opened by {new_key_file}; the key before opens older backups only")


@vault.command(epilog="Example: fedsurg site vault forget 3f9a01c2 --yes")
@click.argument("study")
@in_folder
@_key_file
@_passphrase_file
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(study: str, folder: Path, key_file: Path | None, passphrase_file: Path | None, yes: bool) -> None:
    """Let this site begin a study anew: its private state is set aside, not deleted.

    STUDY is the digest, or 8 or more characters of its beginning. Exit code 0; 1: the vault does not open, has nothing
    of it, or what is done cannot be logged.
    """
    from fedsurg.errors import VaultError
    from fedsurg.files import FEWEST_CHARACTERS, begins
    from site_client.site_folder import site_log
    from site_client.vault import open_vault
    from site_client.vault_key import secret_of

    opened = open_vault(folder / VAULT, site_log(folder), secret_of(key_file, passphrase_file))
    found = [digest for digest in opened.studies() if begins(digest, study)]
    if len(found) != 1:
        raise VaultError(
            f"{study!r} names {len(found)} studies in the vault; give {FEWEST_CHARACTERS} or more characters of one "
            "digest, as fedsurg site vault check lists them"
        )
    if not yes:
        click.confirm(f"Set aside all private state of study {found[0][:12]}?", abort=True)
    click.echo(f"{opened.forget(found[0])} files are set aside; the next round begins the study anew at this site")


def _typed(what: str) -> str:
    """A passphrase from the terminal, typed twice, not shown."""
    first = getpass.getpass(f"{what}: ")
    if getpass.getpass(f"{what}, again: ") != first:
        raise click.UsageError("the two passphrases differ")
    return first

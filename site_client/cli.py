"""`fedsurg site`: everything that a hospital types. Commands load when they are used."""

import click

from fedsurg.cli.main import LazyGroup

COMMANDS = {
    "audit": ("site_client.study_cli:audit", "Verify and show the log of all that came, left and was decided."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def site() -> None:
    """For a hospital: join a federation, approve studies, keep the audit log."""

"""`fedsurg server`: everything that the coordinator types. Commands load when they are used."""

import click

from fedsurg.cli.main import LazyGroup

COMMANDS = {
    "audit": ("server.audit_cli:audit", "Verify and show the log of all that came, left and was decided."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def server() -> None:
    """For the coordinator: make a federation, invite and admit hospitals."""

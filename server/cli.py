"""`fedsurg server`: everything that the coordinator types. Commands load when they are used."""

import click

from fedsurg.cli.main import LazyGroup

COMMANDS = {
    "init": ("server.joining_cli:init", "Make a federation: its certificate authority and the gateway's certificate."),
    "invite": ("server.joining_cli:invite", "Write the invitation for one hospital."),
    "admit": ("server.joining_cli:admit", "Answer a hospital's request, to join or to renew."),
    "sites": ("server.joining_cli:sites", "Who is invited, admitted or revoked, with dates and fingerprints."),
    "revoke": ("server.joining_cli:revoke", "Shut one hospital out, at once."),
    "renew": ("server.joining_cli:renew", "Give the gateway a new key and certificate."),
    "audit": ("server.audit_cli:audit", "Verify and show the log of all that came, left and was decided."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def server() -> None:
    """For the coordinator: make a federation, invite and admit hospitals."""

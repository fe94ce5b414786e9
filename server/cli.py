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
    "start": ("server.run_cli:start", "Keep the coordinator's processes running until it is stopped."),
    "run": ("server.run_cli:run", "Run a study, or resume it after anything, and follow its rounds."),
    "status": ("server.run_cli:status", "Processes, sites, runs with rounds and refusals."),
    "pause": ("server.run_cli:pause", "Hold a run after the present round."),
    "stop": ("server.run_cli:stop", "Stop what start runs."),
    "keeper": ("server.run_cli:keeper", "Keep nodes registered and runs going; start runs this."),
    "gateway": ("server.gateway.cli:gateway", "Run the public port in the foreground."),
    "audit": ("server.audit_cli:audit", "Verify and show the log of all that came, left and was decided."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def server() -> None:
    """For the coordinator: make a federation, admit hospitals, run studies with them."""

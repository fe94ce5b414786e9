"""`fedsurg site`: everything that a hospital types. Commands load when they are used."""

import click

from fedsurg.cli.main import LazyGroup

COMMANDS = {
    "enrol": ("site_client.joining_cli:enrol", "Answer an invitation: make keys here, write the request."),
    "join": ("site_client.joining_cli:join", "Take the coordinator's admission."),
    "renew": ("site_client.joining_cli:renew", "Ask for a new certificate before this one ends."),
    "doctor": ("site_client.doctor.cli:doctor", "Is this site ready? One line per check: ok, or what to do."),
    "worker": ("site_client.worker.cli:worker", "Hold data, model and private state, and answer; start runs it."),
    "connection": ("site_client.connection.cli:connection", "Run the way to the gateway in the foreground."),
    "review": ("site_client.study_cli:review", "Say in plain words what a study trains, what leaves and what stays."),
    "approve": ("site_client.study_cli:approve", "Approve a study, within limits."),
    "approvals": ("site_client.study_cli:approvals", "List what was approved here."),
    "revoke": ("site_client.study_cli:revoke", "Close a study at once."),
    "start": ("site_client.run_cli:start", "Take part: keep the site's processes running until it is stopped."),
    "status": ("site_client.run_cli:status", "Processes, studies, the round in hand, bytes that left."),
    "stop": ("site_client.run_cli:stop", "Stop what start runs."),
    "export": ("site_client.study_cli:export", "Write the personalised model and its card."),
    "adapt": ("site_client.adapt_cli:adapt", "Took no part? Fit a finished shared model to a few of your cases."),
    "vault": ("site_client.vault_cli:vault", "Make and check the vault, change its key, forget a study."),
    "audit": ("site_client.study_cli:audit", "Verify and show the log of all that came, left and was decided."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def site() -> None:
    """For a hospital: join a federation, approve studies, take part, keep the audit log."""

"""The ServerApp of the bundle: the coordinator's own installation runs the study that the run configuration names."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run or resume the study."""
    from server.deployed import federate  # torch, and only at the coordinator

    federate(grid, context)

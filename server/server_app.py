"""The Flower ServerApp: Flower calls it with a Grid, it runs the federation."""

from collections.abc import Callable

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.federation import Federation


def make_server_app(federation_of: Callable[[Context], Federation]) -> ServerApp:
    """A ServerApp that runs the federation which `federation_of` builds from Flower's context."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        federation_of(context).run(grid)

    return app

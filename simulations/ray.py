"""The ray engine: Flower's own simulation, sites in several processes."""

import logging
import os

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from fedsurg.errors import FedsurgError


def run_ray(server_app: ServerApp, client_app: ClientApp, nodes: int, *, processes: int, threads: int) -> None:
    """Run a ServerApp against `nodes` virtual nodes in `processes` ray workers of `threads` threads each.

    Raises:
        FedsurgError: ray is not installed.
    """
    # Ray's processes inherit the environment; Flower leaves no other way to hand it to them.
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0", FLWR_TELEMETRY_ENABLED="0")
    os.environ.update(RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0", OMP_NUM_THREADS=str(threads))
    try:
        import ray
    except ImportError as problem:
        raise FedsurgError("ray is not installed; pip install 'flwr[simulation]', or use --engine inline") from problem
    from flwr.simulation import run_simulation

    logging.getLogger("flwr").setLevel(logging.ERROR)
    backend = {
        "init_args": {
            "num_cpus": processes,
            "include_dashboard": False,
            "log_to_driver": False,
            "logging_level": logging.ERROR,
        },
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
    }
    try:
        run_simulation(server_app, client_app, nodes, backend_name="ray", backend_config=backend)  # type: ignore[arg-type]
    finally:
        ray.shutdown()

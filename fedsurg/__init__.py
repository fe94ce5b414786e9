"""fedsurg: federated learning of surgical instruments, the core.

Studies, site data, networks, local learning, what is shared, methods, metrics, the simulator and reports.
This package imports neither Flower nor gRPC; those are met in `site_client` and `server`.
"""

__version__ = "0.1.0"

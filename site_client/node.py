"""Flower's SuperNode as a process that ends when it is of no more use: `python -m site_client.node`, and its options.

Flower's own program lives on when one request was answered with an error, or when its heartbeat broke off: other
threads keep it, nobody asks for messages, and nobody notices. Here both end the process, and the supervisor starts the
next one.
"""

import os
import threading

OF_NO_USE = 1


def main() -> None:
    """Run the SuperNode. SIGTERM ends it as Flower does, with exit code 0; all else with 1."""
    from flwr.supernode.cli import flower_supernode

    threading.excepthook = _end
    flower_supernode()
    os._exit(OF_NO_USE)


def _end(problem: threading.ExceptHookArgs) -> None:
    """A thread broke off: say why, and end with it."""
    threading.__excepthook__(problem)
    os._exit(OF_NO_USE)


if __name__ == "__main__":
    main()

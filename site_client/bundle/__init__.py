"""The package inside the Flower app bundle: all of fedsurg's code that a coordinator sends to a hospital.

It is installed with fedsurg as well, and a hospital runs a bundle only if it has the bytes that its own installation
would build. It holds no training code and sees no data: a message goes on to the hospital's worker, its answer back.
"""

SOCKET = "FEDSURG_WORKER_SOCKET"  # environment: path of the worker's socket, set by fedsurg site start

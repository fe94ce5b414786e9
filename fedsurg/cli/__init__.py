"""The command `fedsurg`."""

from fedsurg.cli.main import main

__all__ = ["main"]

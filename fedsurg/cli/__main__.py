"""`python -m fedsurg.cli` is the command `fedsurg`."""

from fedsurg.cli.main import main

main()

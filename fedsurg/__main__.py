"""`python -m fedsurg`: the command without a script on the path, as services and child processes start it."""

from fedsurg.cli import main

main()

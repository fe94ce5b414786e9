"""`python -m fedsurg.bundle`: generate the stub in a checkout, where no installation has done it."""

import sys
from pathlib import Path

from fedsurg.bundle.generate import generate
from fedsurg.errors import FedsurgError

try:
    for path in generate(Path(__file__).parents[2]):
        sys.stdout.write(f"{path}\n")
except FedsurgError as problem:
    sys.exit(f"fedsurg: {problem}")

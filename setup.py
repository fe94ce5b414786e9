"""One step that pyproject.toml cannot name: generate the worker's stub before the packages are collected."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
sys.path.insert(0, str(ROOT))

from fedsurg.bundle.generate import generate  # noqa: E402


class BuildPy(build_py):
    """Also for editable installs, which run it too."""

    def run(self) -> None:
        """Generate, then collect."""
        generate(ROOT)
        super().run()


setup(cmdclass={"build_py": BuildPy})

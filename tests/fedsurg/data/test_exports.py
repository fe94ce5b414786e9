"""The public names of `fedsurg.data`."""

import importlib
import subprocess
import sys

import pytest

import fedsurg.data


@pytest.mark.parametrize("name", fedsurg.data.__all__)
def test_every_name_is_its_modules(name: str) -> None:
    found = getattr(fedsurg.data, name)
    if name != "IGNORE":
        assert getattr(importlib.import_module(found.__module__), name) is found


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"module 'fedsurg.data' has no attribute 'nothing'"):
        fedsurg.data.nothing  # noqa: B018


def test_importing_the_commands_is_quick() -> None:
    code = "import sys, fedsurg.cli.data; assert not {'torch', 'pandas', 'pydantic', 'PIL', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

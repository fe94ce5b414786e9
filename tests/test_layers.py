"""Arrows point one way, Flower is met in few files, help needs no torch, and a wheel holds all that is needed."""

import ast
import fnmatch
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("fedsurg", "site_client", "server", "simulations", "studies")

FORBIDDEN = {
    "fedsurg": {"flwr", "grpc", "ray", "server", "site_client", "simulations"},
    "site_client/bundle": {"torch", "numpy", "ray", "site_client", "simulations"},
    "site_client": {"ray", "server", "simulations"},
    "server": {"ray", "site_client", "simulations"},
}

AT_THE_COORDINATOR = ROOT / "site_client" / "bundle" / "server_app.py"  # an app has both sides; this one calls `server`

MEETS_FLOWER = {
    "server/control.py",
    "server/deployed.py",
    "server/federation.py",
    "server/gateway/claims.py",
    "server/records.py",
    "server/roster.py",
    "server/server_app.py",
    "simulations/bench.py",
    "simulations/inline.py",
    "simulations/ray.py",
    "simulations/thin_site.py",
    "site_client/bundle/client_app.py",
    "site_client/bundle/records.py",
    "site_client/bundle/server_app.py",
    "site_client/client_app.py",
    "site_client/connection/bundle.py",
    "site_client/executor.py",
    "site_client/node.py",
}

HEAVY = {"embreex", "flwr", "matplotlib", "mitsuba", "monai", "pandas", "peft", "ray", "timm", "torch", "torchvision"}

# Needed in a clone only: what text_vectors.safetensors was made from.
NOT_SHIPPED = {"fedsurg/models/text_prompts.txt"}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(file: Path) -> set[str]:
    """Top-level names that a file imports anywhere, in functions and for type checking too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0] if not node.level else "a relative import")
    return names


def rooms(package: str) -> dict[str, set[str]]:
    """Room -> the rooms of its package that its files import; a room is a folder or a file of the package."""
    found: dict[str, set[str]] = {}
    for file in sources(package):
        room = file.relative_to(ROOT / package).parts[0].removesuffix(".py")
        found.setdefault(room, set())
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            found[room] |= {name.split(".")[1] for name in names if name.startswith(f"{package}.")} - {room}
    return found


@pytest.mark.parametrize("package", ["fedsurg", "site_client", "server", "simulations"])
def test_rooms_of_a_package_import_in_no_circle(package: str) -> None:
    left = rooms(package)
    assert len(left) > 5
    while free := [room for room, below in left.items() if not below & set(left)]:
        left = {room: below for room, below in left.items() if room not in free}
    assert not {room: sorted(below & set(left)) for room, below in left.items()}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_layers_point_one_way(package: str) -> None:
    wrong = {
        str(file.relative_to(ROOT)): sorted(found)
        for file in sources(package)
        if (found := imported(file) & FORBIDDEN[package]) and file != AT_THE_COORDINATOR
    }
    assert not wrong


def test_the_bundle_reaches_the_server_through_its_server_app_alone() -> None:
    assert [file.name for file in sources("site_client/bundle") if "server" in imported(file)] == ["server_app.py"]


def test_imports_are_absolute_but_for_the_bundles_own() -> None:
    found = [file for package in PACKAGES for file in sources(package) if "a relative import" in imported(file)]
    assert not [file for file in found if file.parent.name != "bundle"]


def test_flower_is_met_in_few_files() -> None:
    found = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in sources(package)
        if "flwr" in imported(file)
    }
    assert found == MEETS_FLOWER


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from fedsurg.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    usage, _, loaded = ran.stdout.rpartition("LOADED")
    assert "simulate" in usage
    assert not set(loaded.split()) & HEAVY


def test_a_wheel_holds_every_package() -> None:
    include = project()["tool"]["setuptools"]["packages"]["find"]["include"]
    for package in PACKAGES:
        for folder in {file.parent for file in sources(package)}:
            assert (folder / "__init__.py").is_file(), folder
            name = ".".join(folder.relative_to(ROOT).parts)
            assert any(fnmatch.fnmatchcase(name, pattern) for pattern in include), name


def test_a_wheel_holds_every_data_file() -> None:
    patterns = project()["tool"]["setuptools"]["package-data"]["*"]
    left_out = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file()
        and "__pycache__" not in file.parts
        and file.suffix != ".py"
        and not any(fnmatch.fnmatchcase(file.name, pattern) for pattern in patterns)
    }
    assert left_out == NOT_SHIPPED


def test_data_files_lie_in_packages() -> None:
    """Only folders that a wheel takes as packages take their data along."""
    from fedsurg.study.start import SHIPPED

    assert (SHIPPED.parent / "__init__.py").is_file()
    assert any(fnmatch.fnmatchcase(SHIPPED.name, one) for one in project()["tool"]["setuptools"]["package-data"]["*"])


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

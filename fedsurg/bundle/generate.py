"""The stub of `worker.proto`: generated when fedsurg is installed, and by `python -m fedsurg.bundle`.

The generated files lie beside the contract and are part of the bundle, so both ends must have the same: the generator's
version is fixed in `pyproject.toml`. Nothing here needs it, apart from `generate` itself.
"""

import tempfile
from importlib.resources import files
from pathlib import Path

from fedsurg.errors import FedsurgError

FOLDER = Path("site_client", "bundle")  # of the bundle's sources, in a checkout and in an installation
CONTRACT = "worker.proto"
GENERATED = ("worker_pb2.py", "worker_pb2_grpc.py")
_TYPES = "worker_pb2.pyi"  # for mypy


def sources() -> Path:
    """Where the bundle's sources lie. They are read as data: the bundle is the hospital's, the coordinator sends it."""
    return Path(str(files(FOLDER.parts[0]))) / FOLDER.parts[1]


def generate(root: Path) -> list[Path]:
    """Write the stub beside the contract below `root`; files that would not change keep their dates.

    Raises:
        FedsurgError: the generator is not installed, or the contract has a mistake, which it has printed.
    """
    try:
        from grpc_tools import protoc
    except ImportError as problem:
        raise FedsurgError("grpcio-tools is not installed; pip install '.[dev]', or pip install -e .") from problem
    folder, includes = root / FOLDER, Path(protoc.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as made:
        outs = [f"--{kind}_out={made}" for kind in ("python", "pyi", "grpc_python")]
        if protoc.main(["protoc", f"-I{folder}", f"-I{includes}", *outs, CONTRACT]):
            raise FedsurgError(f"{folder / CONTRACT}: is not accepted by the generator; see above")
        return [_replace(Path(made) / name, folder / name) for name in (*GENERATED, _TYPES)]


def require_generated() -> None:
    """The stub is there.

    Raises:
        FedsurgError: it is not.
    """
    missing = [name for name in GENERATED if not (sources() / name).exists()]
    if missing:
        raise FedsurgError(
            f"{sources() / missing[0]}: is missing; install fedsurg with pip, or in a checkout run "
            "python -m fedsurg.bundle"
        )


def _replace(made: Path, target: Path) -> Path:
    """Put a generated file in its place, importing its neighbour whatever the package is called."""
    content = made.read_bytes().replace(b"\nimport worker_pb2 as", b"\nfrom . import worker_pb2 as")
    if not target.exists() or target.read_bytes() != content:
        target.write_bytes(content)
    return target

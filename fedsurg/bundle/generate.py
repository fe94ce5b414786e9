"""The stub of `worker.proto`: generated when fedsurg is installed, and by `python -m fedsurg.bundle`.

The generated files lie beside the contract and are part of the bundle, so both ends must have the same: the generator's
version is fixed in `pyproject.toml`. Nothing here needs it, apart from `generate` itself.
"""

import tempfile
from importlib.util import find_spec
from pathlib import Path

from fedsurg.errors import FedsurgError

PACKAGE = "fedsurg_round"
CONTRACT = "worker.proto"
GENERATED = ("worker_pb2.py", "worker_pb2_grpc.py")
_TYPES = "worker_pb2.pyi"  # for mypy


def generate(root: Path) -> list[Path]:
    """Write the stub into the package below `root`; files that would not change keep their dates.

    Raises:
        FedsurgError: the generator is not installed, or the contract has a mistake, which it has printed.
    """
    try:
        from grpc_tools import protoc
    except ImportError as problem:
        raise FedsurgError("grpcio-tools is not installed; pip install '.[dev]', or pip install -e .") from problem
    includes = Path(protoc.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as made:
        outs = [f"--{kind}_out={made}" for kind in ("python", "pyi", "grpc_python")]
        words = ["protoc", f"-I{root}", f"-I{includes}", *outs, f"{PACKAGE}/{CONTRACT}"]
        if protoc.main(words):
            raise FedsurgError(f"{root / PACKAGE / CONTRACT}: is not accepted by the generator; see above")
        return [_replace(Path(made) / PACKAGE / name, root / PACKAGE / name) for name in (*GENERATED, _TYPES)]


def require_generated() -> None:
    """The stub is there.

    Raises:
        FedsurgError: it is not.
    """
    package = find_spec(PACKAGE)
    for folder in (package.submodule_search_locations or ()) if package else ():
        missing = [name for name in GENERATED if not (Path(folder) / name).exists()]
        if missing:
            raise FedsurgError(
                f"{Path(folder) / missing[0]}: is missing; install fedsurg with pip, or in a checkout run "
                "python -m fedsurg.bundle"
            )


def _replace(made: Path, target: Path) -> Path:
    content = made.read_bytes()
    if not target.exists() or target.read_bytes() != content:
        target.write_bytes(content)
    return target

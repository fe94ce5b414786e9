"""The bundle: what is in it, that Flower takes it, and that nothing heavy is loaded where it runs."""

import io
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_files
from flwr.cli.install import install_from_fab
from flwr.common.config import get_fab_config, get_metadata_from_config, validate_config

from fedsurg import __version__
from fedsurg.bundle import build, fedsurg_bundle
from fedsurg.bundle.generate import CONTRACT, FOLDER, generate, require_generated
from fedsurg.errors import FedsurgError

FILES = [
    "pyproject.toml",
    "fedsurg_round/__init__.py",
    "fedsurg_round/client_app.py",
    "fedsurg_round/records.py",
    "fedsurg_round/server_app.py",
    "fedsurg_round/stream.py",
    "fedsurg_round/worker_pb2.py",
    "fedsurg_round/worker_pb2_grpc.py",
]
# What the thin ClientApp loads of fedsurg: names, checks and plain values.
LIGHT = {
    "fedsurg",
    "fedsurg.audit",
    "fedsurg.audit.heads",
    "fedsurg.audit.log",
    "fedsurg.audit.verify",
    "fedsurg.errors",
    "fedsurg.files",
    "fedsurg.sharing",
    "fedsurg.sharing.contract",
    "fedsurg.sharing.protocol",
    "fedsurg.sharing.update",
    *(name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in FILES[1:]),
} - {"fedsurg_round.server_app"}


def entries(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_what_is_in_it() -> None:
    bundle = fedsurg_bundle()
    assert list(entries(bundle.content)) == [*FILES, ".info/CONTENT"]
    assert list(bundle.files) == FILES


def test_the_same_bytes_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first = fedsurg_bundle()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert fedsurg_bundle().content == first.content
    monkeypatch.setattr(build, "_PYPROJECT", build._PYPROJECT.replace("study", "studies"))
    assert fedsurg_bundle().sha256 != first.sha256


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")  # of a library that Flower uses
def test_flower_builds_the_same() -> None:
    bundle = fedsurg_bundle()
    theirs, _ = build_fab_from_files(bundle.files)
    assert entries(theirs) == entries(bundle.content)


def test_flower_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = fedsurg_bundle()
    known = get_metadata_from_config(get_fab_config(bundle.content))
    assert known == (bundle.id, bundle.version) == ("fedsurg/fedsurg-round", __version__)
    installed = install_from_fab(bundle.content, tmp_path, skip_prompt=True)
    assert sorted(p.relative_to(installed).as_posix() for p in installed.rglob("*") if p.is_file()) == sorted(FILES)
    config = tomllib.loads((installed / "pyproject.toml").read_text())
    valid, errors, _ = validate_config(config, check_module=True, project_dir=installed)
    assert valid, errors
    assert config["tool"]["flwr"]["app"]["config"] == {"study": ""}


def test_flower_refuses_a_changed_byte(tmp_path: Path) -> None:
    changed = fedsurg_bundle().content.replace(b"WAIT_S = 60.0", b"WAIT_S = 61.0")
    with pytest.raises(Exception, match=r"CRC|hashes"):
        install_from_fab(changed, tmp_path, skip_prompt=True)


def test_the_thin_client_loads_nothing_heavy(tmp_path: Path) -> None:
    """Not from the installation but as Flower does it: from the bundle, in a process of its own."""
    installed = install_from_fab(fedsurg_bundle().content, tmp_path, skip_prompt=True)
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        "import fedsurg_round.client_app as found\n"
        "print(found.__file__, *sys.modules, sep='\\n')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    file, *modules = ran.stdout.splitlines()
    assert file.startswith(str(installed))
    ours = {name for name in modules if name.partition(".")[0] in ("fedsurg", "fedsurg_round", "server", "site_client")}
    assert ours == LIGHT
    assert not set(modules) & {"mitsuba", "monai", "pandas", "peft", "pydantic", "ray", "timm", "torch", "torchvision"}


def test_a_missing_stub_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsurg.bundle.generate.sources", lambda: tmp_path)
    with pytest.raises(FedsurgError, match=r"worker_pb2\.py: is missing; .* run python -m fedsurg.bundle$"):
        require_generated()


def test_the_generated_stub_is_the_contracts(tmp_path: Path) -> None:
    """Of this very contract, by the one generator: another would give the bundle another digest."""
    pytest.importorskip("grpc_tools")
    root = Path(build.__file__).parents[2]
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / CONTRACT).write_bytes((root / FOLDER / CONTRACT).read_bytes())
    for path in generate(tmp_path):
        assert path.read_bytes() == (root / FOLDER / path.name).read_bytes(), "run python -m fedsurg.bundle"

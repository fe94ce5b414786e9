"""The two commands: what they refuse to begin with, in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def run(*words: str) -> tuple[int, str]:
    """Exit code and standard error; with -X dev anything that is left open would be seen there."""
    ran = subprocess.run(
        [sys.executable, "-W", "default::ResourceWarning", "-m", "fedsurg", *words],
        capture_output=True, text=True, timeout=120, check=False, env=os.environ,
    )  # fmt: skip
    return ran.returncode, ran.stderr


@pytest.fixture
def folder(federation: Path, tmp_path: Path) -> Path:
    shutil.copytree(federation, tmp_path, dirs_exist_ok=True)
    return tmp_path


def settings(folder: Path, port: int) -> None:
    text = f'host = "127.0.0.1"\nport = {port}\n[gateway]\nlisten = "127.0.0.1"\n'
    (folder / "coordinator/federation.toml").write_text(text)


def test_a_taken_port(folder: Path, deaf_port: int) -> None:
    settings(folder, deaf_port)
    code, said = run("server", "gateway", "--dir", str(folder / "coordinator"))
    assert (code, len(said.splitlines())) == (4, 1)
    assert f"port {deaf_port}: cannot be listened on" in said
    code, said = run("site", "connection", "--dir", str(folder / "hospital-a"), "--port", str(deaf_port))
    assert (code, len(said.splitlines())) == (4, 1)
    assert f"port {deaf_port} of this machine is taken" in said


def test_a_damaged_folder(folder: Path) -> None:
    settings(folder, 1)
    (folder / "coordinator/federation.toml").write_text('host = "127.0.0.1"\n[gateway]\nobject_mib = 1\n')
    code, said = run("server", "gateway", "--dir", str(folder / "coordinator"))
    assert (code, len(said.splitlines())) == (4, 1)
    assert "gateway.object_mib: Input should be greater than or equal to 6" in said
    (folder / "hospital-a/private/identity.pem").unlink()
    code, said = run("site", "connection", "--dir", str(folder / "hospital-a"), "--port", "1")
    assert (code, len(said.splitlines())) == (4, 1)
    assert "identity.pem: cannot be used for TLS" in said

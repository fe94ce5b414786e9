"""A comparison of two methods with two seeds, run once as a person types it."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def study_file(tmp_path_factory: pytest.TempPathFactory, tiny_text: str) -> Path:
    path = tmp_path_factory.mktemp("studies") / "tiny.toml"
    path.write_text(tiny_text.replace("rounds = 2", "rounds = 1"))
    return path


@pytest.fixture(scope="session")
def words(study_file: Path, data: Path, cache: Path, start: Path) -> list[str]:
    """The command without methods and folder; the start is in the cache already."""
    assert start.exists()
    options = ["--data", str(data), "--cache", str(cache), "--device", "cpu", "--jobs", "1"]
    return ["compare", str(study_file), *options]


def as_typed(*words: str | Path) -> str:
    """What a command that must work prints, in a process of its own."""
    command = [sys.executable, "-c", "from fedsurg.cli import main; main()", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> Path:
    """The folder of `--methods fedavg,start --seeds 2`."""
    out = tmp_path_factory.mktemp("comparisons") / "out"
    options = ["--methods", "fedavg,start", "--seeds", "2", "--set", "evaluation.bootstrap=200"]
    shown = as_typed(*words, "--out", out, *options)
    (out / "stdout.txt").write_text(shown)
    return out


@pytest.fixture(scope="session")
def kept_methods() -> list[str]:
    return ["--methods", "fedst-own,local,start", "--seeds", "1"]


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory, words: list[str], kept_methods: list[str]) -> Path:
    """The folder of `kept_methods`, with its models."""
    out = tmp_path_factory.mktemp("kept") / "out"
    as_typed(*words, *kept_methods, "--keep-models", "--out", out)
    return out

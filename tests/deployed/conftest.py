"""One coordinator and three hospitals as real processes, shared by all tests of this folder."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedsurg.study.load import load_study, study_digest
from simulations.loopback import Loopback

SITES = ("north", "east", "harbour")
POLICY = "minimum_cases = 1\nminimum_scored_cases = 1\nmax_repeats = 20\n"  # the tiny data have a case or two per split


@dataclass(frozen=True)
class Paper:
    """A study file and its digest."""

    file: Path
    digest: str


@pytest.fixture(scope="session")
def write_study(tmp_path_factory: pytest.TempPathFactory, tiny_text: str, start: Path) -> Callable[..., Paper]:
    """Write the tiny study with three federated sites and a start file; keyword arguments as for `tiny_study`."""
    folder = tmp_path_factory.mktemp("studies")

    def make(name: str, **lines: str) -> Paper:
        text = tiny_text.replace('name = "tiny"', f'name = "{name}"').replace('role = "unseen"\n', "")
        text = text.replace("[server.pretrain]\n", f'[server.pretrain]\nstart = "{start}"\n')
        for key, value in lines.items():
            text = with_value(text, key.replace("__", "."), value)
        file = folder / f"{name}.toml"
        file.write_text(text)
        return Paper(file, study_digest(load_study(file)))

    return make


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[Loopback]:
    """All have joined and everything is up."""
    folder = tmp_path_factory.mktemp("fl")
    environment = {"OMP_NUM_THREADS": "1", "FEDSURG_THREADS": "1"}
    with Loopback(folder, {name: data / name for name in SITES}, POLICY, environment) as loopback:
        loopback.join()
        loopback.start()
        yield loopback


def with_value(text: str, key: str, value: str) -> str:
    """A study's text with one more `table.key = value`, or another value of it."""
    table, _, name = key.rpartition(".")
    lines = text.splitlines()
    at = lines.index(f"[{table}]") if table else -1
    end = next((i for i in range(at + 1, len(lines)) if lines[i].startswith("[")), len(lines))
    kept = [line for line in lines[at + 1 : end] if not line.startswith(f"{name} =")]
    return "\n".join([*lines[: at + 1], f"{name} = {value}", *kept, *lines[end:]]) + "\n"

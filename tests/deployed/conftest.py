"""One coordinator and three hospitals as real processes, shared by all tests of this folder."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedsurg.models.start_file import write_start
from fedsurg.study import Study
from fedsurg.study.digest import study_digest
from fedsurg.study_file.load import load_study
from fedsurg.tensor_file import read_tensors
from simulations.loopback import Loopback

SITES = ("north", "east", "harbour")
ROOT, INJECTED = Path(__file__).parents[2], Path(__file__).parent / "injected"
POLICY = "minimum_cases = 1\nminimum_scored_cases = 1\nmax_repeats = 20\n"  # the tiny data have a case or two per split


@dataclass(frozen=True)
class Paper:
    """A study file and its digest."""

    file: Path
    digest: str


@pytest.fixture(scope="session")
def write_study(
    tmp_path_factory: pytest.TempPathFactory, tiny_text: str, tiny_study: Callable[..., Study], start: Path
) -> Callable[..., Paper]:
    """Write the tiny study with three federated sites and a start file; keyword arguments as for `tiny_study`."""
    folder = tmp_path_factory.mktemp("studies")
    file_of_start = folder / "start.safetensors"
    write_start(file_of_start, tiny_study(), read_tensors(start)[0], {})

    def make(name: str, **lines: str) -> Paper:
        text = tiny_text.replace('name = "tiny"', f'name = "{name}"').replace('role = "unseen"\n', "")
        text = text.replace("[server.pretrain]\n", f'[server.pretrain]\nstart = "{file_of_start}"\n')
        for key, value in lines.items():
            text = with_value(text, key.replace("__", "."), value)
        file = folder / f"{name}.toml"
        file.write_text(text)
        return Paper(file, study_digest(load_study(file)))

    return make


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose files are faults: see `injected/sitecustomize.py`."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory, data: Path, faults: Path) -> Iterator[Loopback]:
    """All have joined and everything is up."""
    environment = {
        "OMP_NUM_THREADS": "1",
        "FEDSURG_THREADS": "1",
        "FEDSURG_FAULTS": str(faults),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(INJECTED), str(ROOT), os.environ.get("PYTHONPATH")))),
    }
    sites = {name: data / name for name in SITES}
    with Loopback(tmp_path_factory.mktemp("fl"), sites, POLICY, environment) as loopback:
        loopback.join()
        loopback.start()
        yield loopback


@pytest.fixture(scope="session")
def table() -> Callable[..., None]:
    """Add a row to the table of faults: printed, and kept in the file that FEDSURG_FAULTS_TABLE names."""
    file = os.environ.get("FEDSURG_FAULTS_TABLE")

    def write(row: str) -> None:
        print(row, flush=True)
        if file:
            with Path(file).open("a") as kept:
                kept.write(f"{row}\n")

    def add(case: str, seen: str, final: str, recovered_s: float | None) -> None:
        back = "" if recovered_s is None else f"{recovered_s:.0f} s"
        write("| " + " | ".join(" ".join(word.replace("|", "/").split()) for word in (case, seen, final, back)) + " |")

    write("\n| what breaks | what people see | at the end | back after |\n|---|---|---|---|")
    return add


def with_value(text: str, key: str, value: str) -> str:
    """A study's text with one more `table.key = value`, or another value of it."""
    table, _, name = key.rpartition(".")
    lines = text.splitlines()
    at = lines.index(f"[{table}]") if table else -1
    end = next((i for i in range(at + 1, len(lines)) if lines[i].startswith("[")), len(lines))
    kept = [line for line in lines[at + 1 : end] if not line.startswith(f"{name} =")]
    return "\n".join([*lines[: at + 1], f"{name} = {value}", *kept, *lines[end:]]) + "\n"

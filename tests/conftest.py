"""What several folders of tests need: the command, waiting, a tiny study, data that was drawn once, a start, jobs."""

import csv
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

settings.register_profile("suite", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("suite")

if TYPE_CHECKING:
    from fedsurg.study import Study
    from simulations.job import Job

TINY = """
name = "tiny"
seed = 3
methods = ["fedst"]

[task]
classes = ["background", "shaft", "wrist", "clasper"]
image_size = [64, 64]

[network]
pyramid_channels = 32
segmentation_channels = 32
[network.temporal]
frames = 1
channels = 16
[network.gate]
text = "onehot"

[federation]
rounds = 2
quorum = 1

[local]
steps = 1
batch_size = 2
learning_rate = 1e-3
mixed_precision = "off"

[server]
batch_size = 2
[server.pretrain]
steps = 2
batch_size = 2
warmup_steps = 1
[server.serq]
steps_descriptor = 1
steps_global = 1

[synthetic]
profiles = ["abdominal", "kidney_bed"]
clips = 8
frames = 2
seed = 1

[[sites]]
name = "north"
procedure = "laparoscopic cholecystectomy"

[[sites]]
name = "east"
procedure = "robotic partial nephrectomy"

[[sites]]
name = "harbour"
procedure = "laparoscopic hysterectomy"
role = "unseen"
"""
# Site -> (clip of the drawn video, split); every clip is a case of its own.
CLIPS = {
    "north": ((0, "train"), (1, "train"), (2, "val")),
    "east": ((3, "train"), (4, "val"), (5, "test")),
    "harbour": ((6, "train"), (7, "val")),
}


@pytest.fixture(autouse=True)
def _no_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that gives --debug in this process leaves it in the environment; the next one must not find it there."""
    monkeypatch.delenv("FEDSURG_DEBUG", raising=False)


@pytest.fixture
def fedsurg(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process, word by word; its exit code, its standard output and its standard error."""
    from fedsurg.cli import main

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, captured.out, captured.err

    return run


@pytest.fixture
def until(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any], str], Any]:
    """Wait for a condition: `until(condition, what)` gives its first true value.

    It fails with `what` after the `WAIT_S` seconds of the test's module. They are for a loaded machine: a test that
    passes waits some hundredths.
    """
    wait_s: float = request.module.WAIT_S

    def wait(condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + wait_s
        while not (found := condition()):
            assert time.monotonic() < deadline, what
            time.sleep(0.02)
        return found

    return wait


@pytest.fixture(scope="session")
def alive() -> Callable[[int], bool]:
    """Whether a process runs and is no zombie."""

    def look(process: int) -> bool:
        try:
            return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return look


@pytest.fixture(scope="session")
def tiny_text() -> str:
    """The study file that most tests run: 64 x 64 pixels, two frames a clip, one step a round."""
    return TINY


@pytest.fixture(scope="session")
def tiny_study(tiny_text: str) -> Callable[..., "Study"]:
    """The tiny study; keyword arguments replace keys, `__` for the dot: `federation__rounds=3`."""
    from fedsurg.study_file.load import parse_study

    def make(**overrides: Any) -> "Study":
        values = {key.replace("__", "."): value for key, value in overrides.items()}
        return parse_study(tiny_text, "tiny.toml", overrides=values)

    return make


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory, tiny_study: Callable[..., "Study"]) -> Path:
    """A cache folder that holds the tiny study's synthetic video: the one rendering of the session."""
    from fedsurg.simulator import cached
    from fedsurg.simulator.of_study import synthetic_request

    folder = tmp_path_factory.mktemp("cache")
    cached(synthetic_request(tiny_study()), folder / "synthetic", workers=2)
    return folder


@pytest.fixture(scope="session")
def synthetic(cache: Path) -> Path:
    """Site folder of the server's synthetic video."""
    (folder,) = (cache / "synthetic").glob("[!.]*")
    return folder


@pytest.fixture(scope="session")
def data(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with one data folder per site of the tiny study: read only. Cases are named PATIENT-site-number."""
    folder = tmp_path_factory.mktemp("hospitals")
    for site, clips in CLIPS.items():
        _site_folder(synthetic, folder / site, site, clips)
    return folder


@pytest.fixture
def own_data(data: Path, tmp_path: Path) -> Path:
    """A copy of `data` that a test may change."""
    return Path(shutil.copytree(data, tmp_path / "data"))


@pytest.fixture(scope="session")
def start(cache: Path, synthetic: Path, tiny_study: Callable[..., "Study"]) -> Path:
    """File of the tiny study's pre-trained start."""
    from simulations.preparation import start_of

    assert synthetic.exists()
    return start_of(tiny_study(), cache, "cpu", lambda _what, _done, _total: None)


@pytest.fixture(scope="session")
def job_in(data: Path, synthetic: Path, start: Path, tiny_study: Callable[..., "Study"]) -> Callable[..., "Job"]:
    """A job of the tiny study in the given folder; further keyword arguments as for `tiny_study`."""
    from simulations.job import Job

    def make(folder: Path, method: str = "fedst", *, hospitals: Path = data, **options: Any) -> "Job":
        fields = {key: options.pop(key) for key in ("fold", "engine", "processes") if key in options}
        study = tiny_study(**options)
        return Job(
            study,
            method,
            **{"fold": None} | fields,
            folder=folder,
            sites={site.name: hospitals / site.name for site in study.sites},
            synthetic=synthetic,
            start=start,
            device="cpu",
        )

    return make


@pytest.fixture
def make_job(tmp_path: Path, job_in: Callable[..., "Job"]) -> Callable[..., "Job"]:
    """As `job_in`, in a folder of the test."""

    def make(method: str = "fedst", *, folder: str = "run", **options: Any) -> "Job":
        return job_in(tmp_path / folder, method, **options)

    return make


def _site_folder(source: Path, folder: Path, site: str, clips: Iterable[tuple[int, str]]) -> None:
    """Some clips of a rendered folder as a hospital's own data."""
    with (source / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["clip"] for row in rows})
    chosen = []
    for number, split in clips:
        for row in (row for row in rows if row["clip"] == names[number]):
            for column in ("image", "mask"):
                target = folder / row[column]
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / row[column], target)
            chosen.append(row | {"case": f"PATIENT-{site}-{number}", "split": split})
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(chosen)
    text = (source / "site.toml").read_text().splitlines()
    text[0] = f'name = "{site}"'
    (folder / "site.toml").write_text("\n".join(text) + "\n")

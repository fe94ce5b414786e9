"""The run folder, and which jobs a run has."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedsurg.errors import DataError, RunError, StudyError
from fedsurg.stopping import no_interrupt
from fedsurg.study import Study, study_digest
from simulations.cli import settings_of
from simulations.preparation import Prepared
from simulations.progress import Progress
from simulations.run import Options, jobs_of, simulate
from simulations.run_folder import claimed, free_folder

MakeStudy = Callable[..., Study]


def run(study: Study, out: Path, **options: Any) -> None:
    with Progress(Console(quiet=True)) as progress:
        simulate(study, Options(out=out, cache=out.parent / "cache", device="cpu", **options), progress)


def test_a_folder_that_is_taken(tiny_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(RunError, match="out: exists already; choose another --out, or go on there with --resume"):
        run(tiny_study(), tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file: exists already"):
        run(tiny_study(), tmp_path / "file")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_two_runs_that_begin_in_one_second_have_two_folders(tmp_path: Path) -> None:
    first = free_folder(tmp_path, "demo")
    first.mkdir()
    second = free_folder(tmp_path, "demo")
    assert second != first
    assert second.name.startswith("demo-")


def test_of_two_runs_that_take_a_folder_at_once_one_has_it(tmp_path: Path) -> None:
    with claimed(tmp_path / "out", "a" * 64, resume=False), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "iterdir", lambda _: iter(()))  # the other looked before there was anything
        with (
            pytest.raises(RunError, match="out: another fedsurg is at work there"),
            claimed(tmp_path / "out", "a" * 64, resume=False),
        ):
            pass


def test_a_folder_that_cannot_be_made(tiny_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"out: cannot be written \(Not a directory\)"):
        run(tiny_study(), tmp_path / "file" / "out")


def test_nothing_to_resume(tiny_study: MakeStudy, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunError, match="is no run folder, so there is nothing to resume; leave out --resume"):
            run(tiny_study(), folder, resume=True)
    assert not (tmp_path / "none").exists()


def test_a_folder_of_another_study(tiny_study: MakeStudy, tmp_path: Path) -> None:
    digest = study_digest(tiny_study())
    (tmp_path / "claim.json").write_text(json.dumps({"digest": digest}))
    with pytest.raises(RunError, match=f"was started with study {digest[:12]}, this one is .*; resume with the same"):
        run(tiny_study(seed=99), tmp_path, resume=True)


@pytest.mark.parametrize("claim", ["", "[]", "{}", '{"digest": ', "7"])
def test_a_damaged_claim(tiny_study: MakeStudy, tmp_path: Path, claim: str) -> None:
    (tmp_path / "claim.json").write_text(claim)
    with pytest.raises(RunError, match="cannot be used as a run folder"):
        run(tiny_study(), tmp_path, resume=True)


def test_a_run_that_never_began_takes_no_folder(tiny_study: MakeStudy, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(DataError, match="north: no such folder"):
            run(tiny_study(), tmp_path / "out", data=tmp_path / "nowhere")
        assert not (tmp_path / "out").exists()


def test_one_job_per_fold_and_method(tiny_study: MakeStudy, tmp_path: Path) -> None:
    prepared = Prepared({"north": tmp_path}, [], tmp_path, tmp_path)

    def names(folds: tuple[int, ...] = (), **overrides: Any) -> list[str]:
        study = tiny_study(methods=["fedst", "local"], **overrides)
        return [
            job.name for job in jobs_of(study, prepared, Options(out=tmp_path, cache=tmp_path / "cache", folds=folds))
        ]

    assert names() == ["fedst", "local"]
    assert names(evaluation__folds=2) == ["fedst-fold0", "local-fold0", "fedst-fold1", "local-fold1"]
    assert names((1, 1), evaluation__folds=2) == ["fedst-fold1", "local-fold1"]
    without = [f"{method}-without-{site}" for site in ("north", "east") for method in ("fedst", "local")]
    assert names(evaluation__leave_one_site_out=True) == without
    with pytest.raises(RunError, match=r"--fold 2: the study has 2 folds, numbered from 0 \(evaluation\.folds\)"):
        names((2,), evaluation__folds=2)
    with pytest.raises(RunError, match="--fold 0: the study has 0 folds"):
        names((0,))


def test_a_wrong_fold_takes_no_folder(tiny_study: MakeStudy, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--fold 7: the study has 0 folds"):
        run(tiny_study(), tmp_path / "out", folds=(7,))
    assert not (tmp_path / "out").exists()


def test_ctrl_c_does_not_reach_workers_that_start() -> None:
    ask = [sys.executable, "-c", "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"]
    with no_interrupt():
        inside = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    outside = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    assert (inside, outside) == ("True\n", "False\n")


def test_a_new_folder_is_named_by_study_and_time(tmp_path: Path) -> None:
    assert free_folder(tmp_path, "demo").name.startswith("demo-20")


def test_settings_are_written_as_in_the_study_file() -> None:
    words = ("task.image_size=[192, 240]", "local.learning_rate = 1e-3", 'name="b=c"')
    assert settings_of(words) == {"task.image_size": [192, 240], "local.learning_rate": 1e-3, "name": "b=c"}
    for wrong in ("seed", "name=b", "=3"):
        with pytest.raises(StudyError, match="is not KEY=VALUE"):
            settings_of((wrong,))


def test_a_folder_is_used_by_one_run_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with (
        claimed(folder, "d", resume=False),
        pytest.raises(RunError, match="another fedsurg is at work there"),
        claimed(folder, "d", resume=True),
    ):
        pass
    with claimed(folder, "d", resume=True) as spent:
        assert spent == 0.0

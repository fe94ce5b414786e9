"""A run's folder: what its files say, who holds it, and how a person names it."""

import json
from pathlib import Path

import pytest

from fedsurg.errors import RunError
from server.runs import FlowerTry, RunFolder, Status, Wanted, find_run, runs_of

DIGESTS = {"alpha": "a" * 64, "beta": "b" * 64}


@pytest.fixture
def coordinator(tmp_path: Path) -> Path:
    for name, digest in DIGESTS.items():
        run = RunFolder.of(tmp_path, digest, name)
        run.want(Wanted(digest, name, "fedst", {"name": name}))
        run.update(Status(digest, name, "waiting", 0, 5, quorum=2))
    return tmp_path


def test_what_is_written_is_read(coordinator: Path) -> None:
    run = find_run(coordinator, "alpha")
    assert run.path.name == "alpha-aaaaaaaaaaaa"
    assert run.wanted().method == "fedst"
    assert run.flower() is None
    run.submitted(FlowerTry(2**63 + 5, 3, 2, 1.5))
    assert run.flower() == FlowerTry(2**63 + 5, 3, 2, 1.5)
    run.forget_flower()
    assert run.flower() is None
    status = run.enter("failed", "the quorum was missed")
    assert run.status() == status
    assert (status.state, status.why, status.quorum) == ("failed", "the quorum was missed", 2)
    assert status.updated.endswith("+00:00")
    assert [each.path.name for each in runs_of(coordinator)] == ["alpha-aaaaaaaaaaaa", "beta-bbbbbbbbbbbb"]


def test_a_status_of_a_later_version_is_read(coordinator: Path) -> None:
    run = find_run(coordinator, "alpha")
    path = run.path / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": "green"}))
    assert run.status().state == "waiting"


def test_a_pause_is_a_wish(coordinator: Path) -> None:
    run = find_run(coordinator, "beta")
    assert not run.pause_wanted
    run.want_pause()
    run.want_pause()
    assert run.pause_wanted
    run.want_pause(False)
    run.want_pause(False)
    assert not run.pause_wanted


def test_one_process_holds_a_run(coordinator: Path) -> None:
    run = find_run(coordinator, "alpha")
    assert run.holder() == (0, 0)
    with run.held(7):
        process, flower = run.holder()
        assert (process > 0, flower) == (True, 7)
        with pytest.raises(RunError, match="its rounds are run already; fedsurg server status"), run.held(8):
            raise AssertionError
    assert run.holder() == (0, 7)  # the one that held it last
    with run.held(9):
        assert run.holder()[1] == 9


def test_how_a_person_names_a_run(coordinator: Path) -> None:
    assert find_run(coordinator, "bbbbbbbb").status().name == "beta"
    for too_little in ("", "b", "bbbbbbb"):
        with pytest.raises(RunError, match="no such run in"):
            find_run(coordinator, too_little)
    with pytest.raises(RunError, match=r"gamma: no such run in .*; known: alpha \(aaaaaaaaaaaa\), beta"):
        find_run(coordinator, "gamma")
    with pytest.raises(RunError, match="known: there is no run yet"):
        find_run(coordinator / "nowhere", "alpha")
    other = RunFolder.of(coordinator, "c" * 64, "alpha")
    other.update(Status("c" * 64, "alpha", "waiting", 0, 5))
    with pytest.raises(RunError, match=r"alpha: 2 runs in .* have this name; give the digest"):
        find_run(coordinator, "alpha")
    assert find_run(coordinator, "cccccccc").path == other.path
    named = RunFolder.of(coordinator, "d" * 64, "cccccccc")  # a name wins over a digest that begins like it
    named.update(Status("d" * 64, "cccccccc", "waiting", 0, 5))
    assert find_run(coordinator, "cccccccc").path == named.path


def test_a_damaged_file_is_one_line(coordinator: Path) -> None:
    run = find_run(coordinator, "alpha")
    (run.path / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run.json: cannot be read") as caught:
        run.wanted()
    assert "\n" not in str(caught.value)

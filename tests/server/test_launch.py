"""What `server run`, `status`, `pause`, `stop` and `start` say, without processes."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fedsurg.audit.log import account, read_events
from fedsurg.cli.main import fedsurg
from fedsurg.errors import AuditError, FedsurgError, JoiningError, RunError, StudyError, SupervisionError
from fedsurg.study.digest import study_digest
from fedsurg.study_file.load import load_study
from fedsurg.supervision.lock import SupervisorLock
from server import launch as launching
from server.deployed import study_of
from server.launch import launch
from server.nodes import write_nodes
from server.runs import FlowerTry, RunFolder, find_run
from simulations.loopback import free_ports

TEXT = """
name = "plain"
methods = ["fedavg", "fedst", "central"]
[task]
classes = ["background", "shaft", "wrist", "clasper"]
[network]
colour = "log_opponent"
pyramid_channels = 128
segmentation_channels = 64
[network.temporal]
frames = 1
pooling = [8]
[federation]
rounds = 2
quorum = 1
[server.pretrain]
start = "shipped"
[[sites]]
name = "north"
procedure = "any"
[[sites]]
name = "east"
procedure = "any"
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of the two admitted sites that begins from the shipped start."""
    file = tmp_path / "plain.toml"
    file.write_text(TEXT)
    return file


@pytest.fixture
def started(coordinator: Path) -> Iterator[Path]:
    """As if the coordinator's processes ran: this process holds the lock."""
    lock = SupervisorLock(coordinator / "run")
    yield coordinator
    lock.release()


def begin(folder: Path, file: Path, method: str | None = None, said: list[str] | None = None) -> RunFolder:
    return launch(folder, file, method, "cpu", lambda *_: None, (said if said is not None else []).append)


def call(*words: object) -> Result:
    """As the command line calls it: `return_value` is the exit code where there is no exception."""
    return CliRunner().invoke(fedsurg, [*map(str, words)], standalone_mode=False)


def edited(file: Path, before: str, after: str) -> Path:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))
    return file


def test_a_run_is_set_going_from_any_folder(started: Path, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study.parent)
    said: list[str] = []
    run = begin(started, Path(study.name), said=said)
    digest = study_digest(load_study(study))
    assert run.path == started / "runs" / f"plain-{digest[:12]}"
    assert (run.path / "study.toml").read_text() == TEXT
    status, wanted = run.status(), run.wanted()
    assert (status.state, status.round, status.rounds, status.quorum) == ("waiting", 0, 2, 1)
    assert (wanted.method, wanted.synthetic) == ("fedavg", "")
    assert study_of(wanted) == load_study(study)
    assert said == [f"plain ({digest[:12]}), method fedavg: begins; its folder is {run.path}"]


def test_what_the_server_learns_on_is_rendered_before(
    started: Path, study: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(launching, "synthetic_video", lambda study, cache, progress: cache / "video")
    run = begin(started, study, "fedst")
    assert run.wanted().synthetic == str(started / "cache" / "video")


def test_a_start_file_is_named_by_its_whole_path(
    started: Path, study: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from fedsurg.study.start import SHIPPED

    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "start.safetensors").symlink_to(SHIPPED)
    monkeypatch.chdir(tmp_path / "here")
    edited(study, '"shipped"', '"start.safetensors"')
    run = begin(started, study)
    monkeypatch.chdir(tmp_path)
    assert study_of(run.wanted()).server.pretrain.start == str(tmp_path / "here" / "start.safetensors")


@pytest.mark.parametrize("state", ["failed", "paused"])
def test_the_same_command_goes_on(started: Path, study: Path, state: Any) -> None:
    run = begin(started, study)
    run.want_pause()
    run.update(run.enter(state, "because"))
    said: list[str] = []
    assert begin(started, study, said=said) == run
    assert (run.status().state, run.status().why, run.pause_wanted) == ("waiting", "", False)
    assert ": goes on; its folder" in said[0]


@pytest.mark.parametrize("file", ["status.json", "run.json"])
def test_a_damaged_file_is_written_anew_by_the_same_command(started: Path, study: Path, file: str) -> None:
    run = begin(started, study)
    (run.path / file).write_text('{"torn')
    with pytest.raises(RunError, match=f"{file}: cannot be read .*; give the study to fedsurg server run again"):
        run.status() if file == "status.json" else run.wanted()
    said: list[str] = []
    assert begin(started, study, said=said) == run
    assert "is written anew, and the run goes on from its checkpoint" in said[0]
    assert said[1].startswith("plain (") and ("is waiting already" if file == "run.json" else "goes on") in said[1]
    assert (run.status().state, run.wanted().method) == ("waiting", "fedavg")


@pytest.mark.parametrize("state", ["running", "finished"])
def test_a_run_whose_settings_are_damaged_is_not_stopped_for_it(started: Path, study: Path, state: Any) -> None:
    run = begin(started, study)
    run.update(replace(run.enter(state), round=2))
    run.submitted(FlowerTry(7, 1, 1, 0.0))
    (run.path / "run.json").write_text("")
    begin(started, study)
    assert (run.status().state, run.status().round, run.wanted().method) == (state, 2, "fedavg")
    assert run.flower() == FlowerTry(7, 1, 1, 0.0)


def test_a_run_that_goes_on_is_not_begun_again_for_a_damaged_status(started: Path, study: Path) -> None:
    run = begin(started, study)
    run.submitted(FlowerTry(7, 1, 1, 0.0))
    (run.path / "status.json").write_text("")
    with run.held(7):
        begin(started, study)
    assert (run.status().state, run.flower()) == ("running", FlowerTry(7, 1, 1, 0.0))


@pytest.mark.parametrize("state", ["running", "waiting", "finished"])
def test_a_run_that_needs_nothing_is_left_alone(started: Path, study: Path, state: Any) -> None:
    run = begin(started, study)
    run.enter(state)
    before = (run.path / "status.json").read_bytes()
    said: list[str] = []
    begin(started, study, said=said)
    assert (run.path / "status.json").read_bytes() == before
    assert ("is finished; the shared model" if state == "finished" else f"is {state} already, round 0 of 2") in said[0]


REFUSED: dict[str, tuple[str, str, type[FedsurgError], str]] = {
    "own further steps": (
        'start = "shipped"',
        'start = "shipped"\nfurther_steps = 5',
        StudyError,
        "further_steps: all ends must begin from the same file as it is",
    ),
    "own start": ('start = "shipped"', "steps = 5", StudyError, "all ends must begin from the same file"),
    "control": ('["fedavg", "fedst", "central"]', '["central"]', StudyError, "'central' cannot run between hospitals"),
    "folds": ("[federation]", "[evaluation]\nfolds = 3\n[federation]", StudyError, "a federation trains one model"),
    "never invited": ('"east"', '"west"', JoiningError, "not admitted: west (never invited); admit them"),
    "start does not fit": ("pyramid_channels = 128", "pyramid_channels = 64", FedsurgError, "server.pretrain.start"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_run_is_refused_before_anything_is_begun(started: Path, study: Path, kind: str) -> None:
    before, after, error, message = REFUSED[kind]
    edited(study, before, after)
    with pytest.raises(error) as caught:
        begin(started, study)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (started / "runs").exists()


def test_a_revoked_site_is_not_admitted(started: Path, study: Path) -> None:
    from fedsurg.joining.clock import now
    from server.joining import revoke

    revoke(started, "east", "", now())
    with pytest.raises(JoiningError, match=r"not admitted: east \(revoked\)"):
        begin(started, study)


def test_a_run_goes_on_without_a_site_that_was_revoked_meanwhile(started: Path, study: Path) -> None:
    """Its quorum is one of two."""
    from fedsurg.joining.clock import now
    from server.joining import revoke

    run = begin(started, study)
    run.enter("paused")
    revoke(started, "east", "", now())
    assert begin(started, study).status().state == "waiting"
    run.enter("paused")
    revoke(started, "north", "", now())
    with pytest.raises(JoiningError, match=r"not admitted: north \(revoked\), east \(revoked\)"):
        begin(started, study)


def test_another_method_is_another_run(started: Path, study: Path) -> None:
    begin(started, study)
    with pytest.raises(RunError, match="was begun with method fedavg; give --method fedavg"):
        begin(started, study, "fedst")
    with pytest.raises(StudyError, match="--method 'ditto' is not in"):
        begin(started, study, "ditto")


def test_without_processes_nothing_runs(coordinator: Path, study: Path) -> None:
    with pytest.raises(SupervisionError, match="not started; run fedsurg server start in another terminal"):
        begin(coordinator, study)
    assert call("server", "run", study, "--dir", coordinator).exception.exit_code == 6  # type: ignore[union-attr]


def test_detached_and_as_json(started: Path, study: Path) -> None:
    result = call("server", "run", study, "--dir", started, "--detach", "--json")
    assert result.return_value == 0, result.exception
    status = json.loads(result.output)
    assert (status["name"], status["state"]) == ("plain", "waiting")


def test_a_finished_run_is_followed_to_its_end(started: Path, study: Path) -> None:
    run = begin(started, study)
    site = {"received": {"iou": 0.5}, "seconds": {}}
    record = {"round": 1, "work": "train", "sites": {"north": site}, "refused": {"east": "was revoked"}}
    (run.path / "history.jsonl").write_text(json.dumps(record) + "\n")
    run.enter("finished")
    result = call("server", "run", study, "--dir", started)
    assert (result.return_value, result.exception) == (0, None)
    assert f"plain: finished; the shared model is {run.path / 'global.safetensors'}" in result.output


def test_a_failed_run_says_why(started: Path, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(started, study)
    monkeypatch.setattr(launching, "launch", lambda *_: run)
    run.enter("failed", "round 1: 0 of 2 sites accepted")
    result = call("server", "run", study, "--dir", started)
    assert str(result.exception) == "plain: failed after round 0: round 1: 0 of 2 sites accepted"
    assert result.exception.exit_code == 1  # type: ignore[union-attr]


def test_status(started: Path, study: Path) -> None:
    run = begin(started, study)
    run.enter("failed", "round 1: 0 of 2 sites accepted")
    write_nodes(started, {"north": {"node": "7", "online": True, "seen": "2026-03-01T09:30:00Z"}})
    result = call("server", "status", "--dir", started)
    assert result.return_value == 1  # no processes
    assert f"gateway 127.0.0.1:9443: started (process {os.getpid()})" in result.output
    assert "  north            admitted, online, last seen 2026-03-01 09:30:00 UTC\n" in result.output
    assert "  east             admitted, offline, not seen yet\n" in result.output
    assert "failed, round 0 of 2, quorum 1, 0 B out, 0 B in: round 1: 0 of 2 sites accepted" in result.output
    facts = json.loads(call("server", "status", "--dir", started, "--json").output)
    assert facts["sites"]["north"] == {
        "state": "admitted",
        "node": "7",
        "online": True,
        "seen": "2026-03-01T09:30:00Z",
    }
    assert [each["name"] for each in facts["runs"]] == ["plain"]


def test_status_of_one_that_was_never_started(coordinator: Path) -> None:
    result = call("server", "status", "--dir", coordinator)
    assert result.return_value == 1
    assert "gateway 127.0.0.1:9443: not started" in result.output
    assert "runs: none; fedsurg server run STUDY.toml" in result.output
    assert not (coordinator / "run").exists()


def test_pause(started: Path, study: Path) -> None:
    run = begin(started, study)
    assert call("server", "pause", "plain", "--dir", started).output == "plain: will be held after the present round\n"
    assert run.pause_wanted
    assert call("server", "pause", study, "--dir", started).exception is None
    run.enter("paused")
    assert call("server", "pause", "plain", "--dir", started).output == "plain: is paused\n"
    run.enter("finished")
    assert "is finished, so there is nothing" in str(call("server", "pause", "plain", "--dir", started).exception)
    assert "other: no such run" in str(call("server", "pause", "other", "--dir", started).exception)
    assert find_run(started, "plain") == run


def test_what_a_person_asks_of_a_run_is_logged(started: Path, study: Path) -> None:
    run = begin(started, study)
    assert call("server", "pause", "plain", "--dir", started).exception is None
    begin(started, study)
    begin(started, study)  # goes on as it is: nothing to log
    found = list(read_events(started / "audit"))[-3:]
    assert [line["what"] for line in found] == ["run set going", "pause asked for", "pause taken back"]
    assert {(line["study"], line["facts"]["name"], line["who"]) for line in found} == {
        (run.status().study, "plain", account())
    }
    assert found[0]["facts"]["method"] == "fedavg"


def test_a_run_is_not_begun_or_paused_without_its_line(started: Path, study: Path) -> None:
    log, away = started / "audit", started / "away"
    log.rename(away)
    log.touch()
    with pytest.raises(AuditError, match="audit log cannot be"):
        begin(started, study)
    assert not (started / "runs").exists()
    log.unlink()
    run = begin(started, study)
    shutil.rmtree(log)
    log.touch()
    assert isinstance(call("server", "pause", "plain", "--dir", started).exception, AuditError)
    assert not run.pause_wanted


def test_stop_where_nothing_runs(coordinator: Path) -> None:
    assert call("server", "stop", "--dir", coordinator).output == "did not run\n"


def test_a_second_start(started: Path) -> None:
    result = call("server", "start", "--dir", started)
    assert str(result.exception) == f"{started}: runs already (process {os.getpid()}); fedsurg server status shows how"


def test_a_taken_port(coordinator: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        edited(coordinator / "federation.toml", "superlink = 9444", f"superlink = {port}")
        edited(coordinator / "federation.toml", "port = 9443", f"port = {free_ports(1)[0]}")
        result = call("server", "start", "--dir", coordinator)
    assert f"port {port} for the SuperLink (see {coordinator / 'federation.toml'}, ports.superlink)" in str(
        result.exception
    )
    assert result.exception.exit_code == 6  # type: ignore[union-attr]


@pytest.mark.parametrize("words", [["start"], ["status"], ["stop"], ["pause", "x"], ["keeper"]])
def test_another_folder_is_said(tmp_path: Path, words: list[str]) -> None:
    result = call("server", *words, "--dir", tmp_path)
    assert isinstance(result.exception, JoiningError)
    assert "federation.toml: no such file" in str(result.exception)

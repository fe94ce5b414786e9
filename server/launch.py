"""`fedsurg server run`: from a study file to a run that goes on until it is finished."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from fedsurg.audit.log import Event, account
from fedsurg.errors import JoiningError, RunError, StudyError, SupervisionError
from fedsurg.files import write_atomic
from fedsurg.joining.clock import now
from fedsurg.learning.device import choose_device
from fedsurg.methods.registry import plan
from fedsurg.models.start_file import read_start
from fedsurg.simulator.of_study import Progress, synthetic_video
from fedsurg.study.config import Study
from fedsurg.study.digest import study_digest
from fedsurg.study_file.deployed import method_of, require_deployable
from fedsurg.study_file.load import load_study
from fedsurg.study_file.paths import with_absolute_paths
from fedsurg.study_file.simulated import check_server_video
from fedsurg.supervision import supervisor_of
from server.federation_file import coordinator_log
from server.layout import CACHE, RUN
from server.members import Members
from server.runs import RunFolder, Status, Wanted

T = TypeVar("T")


def launch(
    folder: Path,
    file: Path,
    method: str | None,
    device: str,
    progress: Progress,
    say: Callable[[str], None],
) -> RunFolder:
    """Check the study, make what the server needs, and set the run going. A run that is going or finished stays so.

    1. The study can be run between hospitals.
    2. All its sites are admitted; of a run that goes on, as many as its quorum.
    3. The coordinator's processes run.
    4. A folder that is there is of the same method.
    5. Its start fits its network; the server's video is rendered.

    Args:
        folder: of the coordinator.
        file: of the study.
        method: of the study's; none: its first.
        device: that the server learns on.
        progress: hears how far the video is.
        say: takes a line for the person.

    Raises:
        StudyError, JoiningError, SupervisionError, RunError: by step; nothing was begun.
    """
    # 1.
    study = load_study(file)
    name = _deployable(study, method, str(file))
    # 2.
    digest = study_digest(study)
    run = RunFolder.of(folder, digest, study.name)
    begun = (run.path / "status.json").exists()
    _require_admitted(folder, study, study.quorum if begun else len(study.federated))
    # 3.
    if supervisor_of(folder / RUN) is None:
        raise SupervisionError(f"{folder}: not started; run fedsurg server start in another terminal, or as a service")
    # 4.
    wanted, status = (_readable(run.wanted, say), _readable(run.status, say)) if begun else (None, None)
    if wanted and wanted.method != name:
        raise RunError(f"{run.path}: was begun with method {wanted.method}; give --method {wanted.method}")
    if wanted and status and _stays(folder, run, say):
        return run
    # 5.
    read_start(study)
    choose_device(device)
    video = _video(folder, study, name, progress)
    event = Event("run set going", study=digest, facts={"name": study.name, "method": name})
    coordinator_log(folder).append(event, who=account())
    write_atomic(run.path / "study.toml", file.read_bytes())
    run.want(Wanted(digest, study.name, name, with_absolute_paths(study).resolved(), video, device))
    if status and not wanted and _stays(folder, run, say):
        return run
    first = Status(digest, study.name, "waiting", 0, study.federation.rounds, quorum=study.quorum)
    _set_going(run, status or first, lost=begun and not status)
    say(f"{study.name} ({digest[:12]}), method {name}: {'goes on' if begun else 'begins'}; its folder is {run.path}")
    return run


def _video(folder: Path, study: Study, method: str, progress: Progress) -> str:
    """The site folder of the server's video, rendered if it is not there yet; empty where the server does not learn."""
    if plan(study, method).method.server == "none":
        return ""
    check_server_video(study)
    return str(synthetic_video(study, (folder / CACHE).absolute(), progress))


def _set_going(run: RunFolder, status: Status, *, lost: bool) -> None:
    """The run waits to be started; one whose status was `lost` may be done by a process, which tells how far it is."""
    run.want_pause(False)
    going = lost and bool(run.holder()[0])
    if not going:
        run.forget_flower()
    run.update(replace(status, state="running" if going else "waiting", why=""))


def _readable(read: Callable[[], T], say: Callable[[str], None]) -> T | None:
    """What a file of a run says; None where it is damaged: then it is written anew."""
    try:
        return read()
    except RunError as problem:
        say(f"{str(problem).partition(';')[0]}; it is written anew, and the run goes on from its checkpoint")
        return None


def _stays(folder: Path, run: RunFolder, say: Callable[[str], None]) -> bool:
    """A run that is finished or going on is left as it is."""
    status = run.status()
    if status.state in ("waiting", "running"):
        if run.pause_wanted:
            event = Event("pause taken back", study=status.study, facts={"name": status.name})
            coordinator_log(folder).append(event, who=account())
            run.want_pause(False)
        say(f"{status.name} ({status.study[:12]}): is {status.state} already, round {status.round} of {status.rounds}")
        return True
    if status.state == "finished":
        say(f"{status.name} ({status.study[:12]}): is finished; the shared model is {run.path / 'global.safetensors'}")
        return True
    return False


def _deployable(study: Study, method: str | None, source: str) -> str:
    name = method_of(study, method, source)
    require_deployable(study, name, source)
    for key in ("folds", "leave_one_site_out"):
        if getattr(study.evaluation, key):
            raise StudyError(
                f"{source}: evaluation.{key}: is {getattr(study.evaluation, key)}, but a federation trains one model; "
                f"set it to {'0' if key == 'folds' else 'false'}, or use fedsurg simulate"
            )
    return name


def _require_admitted(folder: Path, study: Study, least: int) -> None:
    """Of the sites that train, at least so many are members in good standing."""
    members, lacking = Members(folder), []
    for site in study.federated:
        member = members.find(site.name)
        state = member.state(now()) if member else "never invited"
        if state != "admitted":
            lacking.append(f"{site.name} ({state})")
    if len(study.federated) - len(lacking) < least:
        raise JoiningError(
            f"study {study.name!r}: not admitted: {', '.join(lacking)}; admit them (fedsurg server invite NAME, then "
            "admit), or take them out of the study"
        )

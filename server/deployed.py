"""The ServerApp of a deployed federation: runs or resumes the study that Flower's run configuration names.

It is called in a process of its own, which superexec starts for every Flower run. What it needs lies in the run's
folder, so it goes on after any predecessor. What a person must deal with it writes to the run's status; everything else
that ends it leaves the run as it was, and the run keeper starts the next one.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

import torch
from flwr.app import Context
from flwr.serverapp import Grid

from fedsurg.errors import ContractError, FederationError, FedsurgError, RunError
from fedsurg.files import write_atomic
from fedsurg.learning.device import choose_device
from fedsurg.methods.registry import plan
from fedsurg.models.start_file import read_start
from fedsurg.study.config import Study
from fedsurg.study.digest import study_digest
from fedsurg.study_file.load import parse_values
from fedsurg.tensor_file import write_tensors
from server.account import Account
from server.checkpoint import CheckpointStore
from server.control import Control, ControlError, node_key
from server.federation import Federation
from server.federation_file import read_federation_file
from server.members import Members
from server.runs import RunFolder, Wanted, find_run
from server.setup import ServerSetup
from server.superlink import COORDINATOR

log = logging.getLogger("fedsurg.server")

PREDECESSOR_S = 60.0  # a process whose Flower run was stopped ends at its next call of the SuperLink
LOG_BYTES, LOGS_KEPT = 5 << 20, 3
THREADS = "FEDSURG_THREADS"  # environment: threads of torch; unset: torch's own choice


def federate(grid: Grid, context: Context) -> None:
    """Run or resume the study `context.run_config["study"]` (digest) of the coordinator's folder in the environment.

    Raises:
        FedsurgError: the run failed, and says so in its status.
    """
    coordinator = Path(os.environ[COORDINATOR])
    run = find_run(coordinator, str(context.run_config["study"]))
    with _logging_to(run.log), run.held(context.run_id, PREDECESSOR_S), _telling(run):
        wanted = run.wanted()
        port = read_federation_file(coordinator).ports.superlink
        with Control(port) as control:
            _rounds(coordinator, run, wanted, control, grid)


def _rounds(coordinator: Path, run: RunFolder, wanted: Wanted, control: Control, grid: Grid) -> None:
    study = study_of(wanted)
    if os.environ.get(THREADS):
        torch.set_num_threads(int(os.environ[THREADS]))
    video = Path(wanted.synthetic) if wanted.synthetic else None
    if video and not video.is_dir():  # as after a restore: backups leave it out
        raise RunError(f"{video}: the server's video is gone; fedsurg server run with the same study renders it again")
    setup = ServerSetup(plan(study, wanted.method), lambda: read_start(study), video, choose_device(wanted.device))
    contract = setup.contract()
    write_atomic(run.path / "contract.json", json.dumps(contract.rows(), indent=1))
    step = setup.server(contract)
    store = CheckpointStore(run.path / "server", wanted.study, contract)
    account = Account(coordinator, run, study)
    account.say("run goes on" if store.path.exists() else "run began")
    names = [site.name for site in study.federated]
    federation = Federation(
        study,
        wanted.study,
        contract,
        len(names),
        step,
        store,
        setup.first(contract),
        roster=MemberRoster(coordinator, control, names),
        observer=account,
    )
    state = federation.run(grid)
    if not state.finished:
        run.want_pause(False)
        run.enter("paused", "as asked")
        account.say("run paused")
        return
    write_tensors(run.path / "global.safetensors", step.neutral(state.shared), {"study": wanted.study})
    account.say("run finished")
    run.enter("finished")


def study_of(wanted: Wanted) -> Study:
    """The study of a run.

    Raises:
        StudyError: its start file or pictures changed.
        FederationError: it is not the one that the run was begun with.
    """
    study = parse_values(json.loads(json.dumps(wanted.settings)), f"study {wanted.name!r}", {})
    if study_digest(study) != wanted.study:
        raise FederationError(
            f"study {wanted.name!r}: its settings now give the digest {study_digest(study)[:12]}, not "
            f"{wanted.study[:12]}; the fedsurg of this machine was changed, or run.json. Use the version it began with"
        )
    return study


class MemberRoster:
    """The admitted sites of a study, known by the node keys that they joined with.

    Args:
        coordinator: folder of the coordinator.
        control: of the SuperLink.
        sites: names of the sites that train, in the study's order.
    """

    def __init__(self, coordinator: Path, control: Control, sites: list[str]) -> None:
        self._members, self._control, self._sites = Members(coordinator), control, sites
        self._bound: dict[int, str] = {}

    def present(self, grid: Grid) -> dict[int, str]:
        """Nodes that are online and whose key is that of an admitted site of the study, in the study's order."""
        online = set(grid.get_node_ids())
        keys = {key: site for site in self._sites if (key := self._key(site))}
        try:
            nodes = self._control.nodes()
        except ControlError as problem:  # the SuperLink starts again, or the grid's next call says that it is over
            log.warning("%s", problem)
            return {}
        self._bound = {node.id: keys[node.key] for node in nodes if node.key in keys}
        found = {site: node for node, site in self._bound.items() if node in online}
        return {found[site]: site for site in self._sites if site in found}

    def awaits(self, site: str) -> bool:
        """It has not been revoked."""
        return self._key(site) is not None

    def require(self, node: int, site: str) -> None:
        """The reply says the name of the site that the node's key belongs to, and that site is still admitted.

        Raises:
            ContractError: otherwise.
        """
        bound = self._bound.get(node, "")
        if bound != site:
            raise ContractError(f"says it is of {site!r}, but its node is {bound!r}")
        if self._key(site) is None:
            raise ContractError("was revoked")

    def _key(self, site: str) -> bytes | None:
        member = self._members.find(site)
        return node_key(member.node_public_key) if member and member.node_public_key else None


@contextmanager
def _telling(run: RunFolder) -> Iterator[None]:
    """A failure that a person must deal with goes into the run's status; everything is logged."""
    try:
        yield
    except FedsurgError as problem:
        log.error("%s", problem)
        with suppress(FedsurgError):  # a full disk; the run keeper tries again, as for any other end
            run.enter("failed", str(problem))
        raise
    except BaseException as problem:
        log.error("ended by %s: %s", type(problem).__name__, problem, exc_info=True)
        raise


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOGS_KEPT, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()

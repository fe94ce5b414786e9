"""A federation without networks: a contract of two small tensors, sites that answer from a script; a coordinator."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedsurg.joining.clock import now
from fedsurg.learning.server_step import Broadcast, ServerStep
from fedsurg.sharing.contract import Contract, Entry
from fedsurg.sharing.protocol import LAYOUT, ORIGIN, REPORT, REQUEST, UPDATE, VECTOR, Report
from fedsurg.sharing.update import Packed, Update
from fedsurg.study import Study
from fedsurg.study.config import SiteConfig
from server.checkpoint import CheckpointStore, ServerState
from server.federation import Federation
from server.joining import admit, invite, make_federation
from simulations.inline import InlineGrid
from site_client.enrolment import enrol, join

CONTRACT = Contract(
    (
        Entry("body", "encoder", "shared", (2, 3)),
        Entry("query", "query", "site", (5,)),
        Entry("head", "head", "shared", (2,)),
    )
)
FIRST = Update.of({"body": np.ones((2, 3), np.float32), "head": np.zeros(2, np.float32)})
Reply = Callable[["Script"], RecordDict]


@dataclass
class Script:
    """What a site was asked and how it answers: by default it adds its number to every value."""

    number: int
    round: int
    work: str
    received: Update

    @property
    def packed(self) -> Packed:
        """An honest update."""
        if self.work == "finish":
            return Packed((), (), b"")
        return Update(self.received.vector + np.float32(self.number), self.received.layout).pack()

    def reply(self, packed: Packed | None = None, facts: Mapping[str, Any] | None = None, site: str = "") -> RecordDict:
        """A reply, honest but for what is given."""
        packed = packed or self.packed
        vector = Array(packed.dtype, (len(packed.data) // 4,), "raw", packed.data)
        report = Report(10 * self.number, received_iou=0.5).facts() if facts is None else facts
        return RecordDict(
            {
                UPDATE: ArrayRecord({VECTOR: vector}),
                LAYOUT: ConfigRecord({"names": list(packed.names), "shapes": list(packed.shapes)}),
                REPORT: MetricRecord(dict(report)),
                ORIGIN: ConfigRecord({"site": site or f"site{self.number}"}),
            }
        )


@dataclass
class World:
    """One federation of scripted sites in a folder."""

    folder: Path
    sites: int = 3
    replies: dict[int, Reply] = field(default_factory=dict)
    step: ServerStep = field(default_factory=lambda: Broadcast({}))
    digest: str = "study"
    options: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[int, int, str]] = field(default_factory=list)

    @property
    def study(self) -> Study:
        """Two rounds, any two of the sites are enough, half a minute for a reply."""
        sites = tuple(SiteConfig(name=f"site{n}", procedure="any") for n in range(1, self.sites + 1))
        limits = {"rounds": 2, "quorum": min(2, self.sites), "deadline_s": 30} | self.options
        return Study.model_validate({"name": "echo", "sites": sites, "federation": limits})

    @property
    def store(self) -> CheckpointStore:
        """Where this world's checkpoints are."""
        return CheckpointStore(self.folder / "server", self.digest, CONTRACT)

    def app(self) -> ClientApp:
        """Site n is node n - 1."""
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            number = int(context.node_config["partition-id"]) + 1
            request = message.content.config_records[REQUEST]
            data = message.content.array_records[UPDATE][VECTOR].data
            received = Update.unpack(replace(FIRST.pack(), data=data), CONTRACT)
            script = Script(number, int(request["round"]), str(request["work"]), received)  # type: ignore[call-overload]
            self.asked.append((script.round, number, script.work))
            return Message(self.replies.get(number, Script.reply)(script), reply_to=message)

        return app

    def grid(self) -> InlineGrid:
        """A wire with all sites on it."""
        return InlineGrid(self.app(), self.sites, self.study.federation.deadline_s)

    def run(self, **options: Any) -> ServerState:
        """All rounds."""
        study = self.study
        options = {"turns": self.sites} | options
        federation = Federation(
            study, self.digest, CONTRACT, self.sites, self.step, self.store, ServerState(0, FIRST), **options
        )
        return federation.run(self.grid())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., World]:
    def make(folder: str = "world", **options: Any) -> World:
        return World(tmp_path / folder, **options)

    return make


@pytest.fixture
def coordinator(tmp_path: Path) -> Path:
    """A coordinator's folder with two admitted sites; their own folders lie beside it, under their names."""
    folder = tmp_path / "coordinator"
    make_federation(folder, "127.0.0.1", 9443, now())
    for name in ("north", "east"):
        admit_site(folder, name)
    return folder


@pytest.fixture
def admit_another(coordinator: Path) -> Callable[[str], None]:
    """Admit one more site."""
    return lambda name: admit_site(coordinator, name)


def admit_site(folder: Path, name: str) -> None:
    files = {kind: folder.parent / f"{name}.{kind}" for kind in ("invite", "request", "admission")}
    for file in files.values():
        file.unlink(missing_ok=True)
    data = folder.parent / "data"
    data.mkdir(exist_ok=True)
    site = folder.parent / name
    shutil.rmtree(site, ignore_errors=True)
    invite(folder, name, files["invite"], now())
    enrol(files["invite"], site, data, files["request"], now())
    admit(folder, files["request"], files["admission"], now())
    join(files["admission"], site, now())

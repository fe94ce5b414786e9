"""One site's engine in the tiny study."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsurg.data.site import load_site
from fedsurg.methods import plan
from fedsurg.sharing.protocol import Request
from fedsurg.study import Study
from fedsurg.tensor_file import read_tensors
from site_client.engine import SiteEngine, SiteSetup
from site_client.site_files import SiteFiles

MakeEngine = Callable[..., SiteEngine]


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk to be safe is tested elsewhere."""
    monkeypatch.setattr("os.fsync", lambda _handle: None)


@pytest.fixture
def make_engine(tiny_study: Callable[..., Study], data: Path, start: Path, tmp_path: Path) -> MakeEngine:
    """The engine of site `north`; keyword arguments change the study."""
    torch.set_num_threads(1)

    def make(
        method: str = "fedst",
        folder: str = "north",
        hospitals: Path = data,
        files: SiteFiles | None = None,
        **options: Any,
    ) -> SiteEngine:
        study = tiny_study(**options)
        setup = SiteSetup(
            "north",
            [load_site(hospitals / "north", study.task)],
            tmp_path / folder,
            read_tensors(start)[0],
            torch.eye(8)[0],
            files,
        )
        return SiteEngine(plan(study, method), "study", setup, torch.device("cpu"))

    return make


@pytest.fixture
def request_of() -> Callable[..., Request]:
    """A request that an engine accepts."""

    def make(engine: SiteEngine, number: int, work: str = "train") -> Request:
        return Request("study", engine.contract.digest, number, work)

    return make

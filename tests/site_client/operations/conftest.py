"""A hospital that joined today, with a vault and data: a site at which all is well."""

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.joining import admit, invite, make_federation
from site_client.doctor import CHECKS, examine
from site_client.doctor.finding import Finding
from site_client.enrolment import enrol, join
from site_client.layout import VAULT, VAULT_KEY
from site_client.site_folder import site_log
from site_client.vault import make_vault
from site_client.vault_key import Secret

Examined = Callable[[str], Finding]
WriteManifest = Callable[..., None]


@pytest.fixture
def now() -> datetime:
    """The time of this machine, as the commands take it."""
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def data_folder(tmp_path: Path, write_manifest: WriteManifest) -> Path:
    """A data folder of five cases; the pictures are empty files, as the doctor reads no pixel."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "site.toml").write_text('name = "a"\nprocedure = "any"\n[mask_values]\nbackground = 0\ninstrument = 1\n')
    write_manifest(folder, "train", "train", "train", "val", "val")
    return folder


@pytest.fixture
def write_manifest() -> WriteManifest:
    """Write a manifest: one case of one frame for each split that is named."""

    def write(folder: Path, *splits: str) -> None:
        with (folder / "manifest.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("image", "mask", "case", "clip", "frame", "split"))
            for number, split in enumerate(splits):
                rows.writerow((f"{number}.png", f"{number}-mask.png", f"c{number}", f"c{number}-1", 0, split))
                for name in (f"{number}.png", f"{number}-mask.png"):
                    (folder / name).touch()

    return write


@pytest.fixture
def folder(tmp_path: Path, data_folder: Path, now: datetime) -> Path:
    """The site's folder."""
    coordinator, site = tmp_path / "coordinator", tmp_path / "site"
    make_federation(coordinator, "localhost", 9443, now)
    invite(coordinator, "hospital-a", tmp_path / "a.invite", now)
    enrol(tmp_path / "a.invite", site, data_folder, tmp_path / "a.request", now)
    admit(coordinator, tmp_path / "a.request", tmp_path / "a.admission", now)
    join(tmp_path / "a.admission", site, now)
    make_vault(site / VAULT, Secret(site / VAULT_KEY), site_log(site))
    return site


@pytest.fixture
def examined(folder: Path) -> Examined:
    """What one check finds."""

    def of(name: str) -> Finding:
        (found,) = examine(folder, {name: CHECKS[name]})
        return found

    return of

"""Real surgical frames, where a folder with them is at hand (`FEDSURG_REALSITES`)."""

import os
from pathlib import Path

import pytest
import torch

from fedsurg.data.augment import Augmentation
from fedsurg.data.check import check_site
from fedsurg.data.clips import ClipDataset
from fedsurg.data.folds import case_folds
from fedsurg.data.labels import IGNORE
from fedsurg.data.loader import ClipLoader
from fedsurg.data.site import load_site
from fedsurg.study.config import AugmentationConfig, TaskConfig

REPOSITORY = Path(__file__).resolve().parents[3]
REAL_SITES = Path(os.environ.get("FEDSURG_REALSITES", REPOSITORY.parent / "shared" / "realsites"))
FOLDERS = sorted(path.parent for path in REAL_SITES.glob("*/site.toml"))

pytestmark = pytest.mark.skipif(not FOLDERS, reason=f"no real sites in {REAL_SITES}; set FEDSURG_REALSITES")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_real_site(folder: Path) -> None:
    task = TaskConfig()
    report = check_site(folder, task)
    assert report.problems == ()
    site = load_site(folder, task)
    assert len(site.frames) == sum(split.frames for split in report.splits.values())
    assert 0.005 < report.splits["train"].shares["instrument"] < 0.5

    dataset = ClipDataset(site, site.split("train"), task.image_size, 3)
    assert dataset.length == (4 if site.frame_rate_hz else 1)
    loader = ClipLoader(dataset, Augmentation(AugmentationConfig(), task.image_size), 4)
    for batch in loader.batches(2, 0):
        assert batch.frames.shape == (4, dataset.length, 3, *task.image_size)
        assert torch.isfinite(batch.frames).all()
        assert set(batch.labels.unique().tolist()) <= {0, 1, IGNORE}
    assert case_folds(site, 3)[0] == site.cases("val")

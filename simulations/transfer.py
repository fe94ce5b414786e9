"""How far synthetic video alone carries: the start on cases of real sites, instruments against everything else."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from fedsurg.data.site import SiteData, load_site, with_whole_instruments
from fedsurg.data.site_file import SITE_FILE
from fedsurg.errors import DataError
from fedsurg.methods.registry import plan
from fedsurg.metrics.summary import GLOBAL, site_means
from fedsurg.study.config import Study
from simulations.evaluation import with_only
from simulations.scoring import ScoredModel, score_site


def transfer(
    study: Study,
    start: Mapping[str, Tensor],
    data: Path,
    device: torch.device,
    progress: Callable[[str, int, int], None],
) -> pd.DataFrame:
    """Score `start` on the validation cases of every site folder below `data`.

    A site's labels are joined to whole instruments, and the network's probabilities of the parts are added up, so that
    sites which label different things give comparable numbers.

    Returns:
        One row per site: `site`, the measures (means over its cases, a case's over its frames), `cases`, `frames`.

    Raises:
        DataError: no site folder lies below `data`, or one is inconsistent or without validation cases.
    """
    folders = site_folders(data)
    model = ScoredModel(GLOBAL, start)
    rows: list[dict[str, Any]] = []
    for number, folder in enumerate(folders):
        site = with_whole_instruments(validation_cases(folder, study))
        if any(row["site"] == site.name for row in rows):
            raise DataError(f"{folder / SITE_FILE}: name {site.name!r} is that of another site there; give it its own")
        scored = score_site(plan(study, "start"), site, model, device)
        rows += [{"site": site.name} | row for row in scored.rows]
        progress("sites scored", number + 1, len(folders))
    return site_means(pd.DataFrame(rows))


def validation_cases(folder: Path, study: Study) -> SiteData:
    """A site with its validation cases alone.

    Raises:
        DataError: the site is inconsistent, or has no validation cases.
    """
    found = with_only(load_site(folder, study.task), "val")
    if found is None:
        raise DataError(f"{folder}: has no frames in split 'val', on which a start is scored; give the site some there")
    return found


def site_folders(data: Path) -> list[Path]:
    """The site folders below `data`, sorted.

    Raises:
        DataError: there is none.
    """
    folders = sorted(file.parent for file in data.glob(f"*/{SITE_FILE}"))
    if not folders:
        raise DataError(f"{data}: holds no site folder ({SITE_FILE} is in none); give the folder that holds them")
    return folders

"""How far synthetic video alone carries: the start on cases of real sites, instruments against everything else."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from fedsurg.data.site import load_site, with_whole_instruments
from fedsurg.data.site_file import SITE_FILE
from fedsurg.errors import DataError
from fedsurg.methods.registry import plan
from fedsurg.metrics.summary import site_means
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
        DataError: no site folder lies below `data`, or one is inconsistent.
        RunError: a site has no validation cases.
    """
    folders = site_folders(data)
    model = ScoredModel("global", start)
    rows = []
    for number, folder in enumerate(folders):
        site = with_whole_instruments(with_only(load_site(folder, study.task), "val"))
        scored = score_site(plan(study, "start"), site, model, device)
        rows += [{"site": folder.name} | row for row in scored.rows]
        progress("sites scored", number + 1, len(folders))
    return site_means(pd.DataFrame(rows))


def site_folders(data: Path) -> list[Path]:
    """The site folders below `data`, sorted.

    Raises:
        DataError: there is none.
    """
    folders = sorted(file.parent for file in data.glob(f"*/{SITE_FILE}"))
    if not folders:
        raise DataError(f"{data}: holds no site folder ({SITE_FILE} is in none); give the folder that holds them")
    return folders

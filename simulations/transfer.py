"""How far synthetic video alone carries: the start on cases of real sites, instruments against everything else."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from fedsurg.data.clips import evenly_spread
from fedsurg.data.site import SiteData, load_site, with_whole_instruments
from fedsurg.data.site_file import SITE_FILE
from fedsurg.errors import DataError
from fedsurg.methods.registry import plan
from fedsurg.metrics.summary import GLOBAL, site_means
from fedsurg.study.config import Study
from simulations.scoring import ScoredModel, score_site, with_only

Chosen = Callable[[Path, Study], SiteData]  # a site folder, whose test cases are those to score


def validation_cases(folder: Path, study: Study) -> SiteData:
    """A site with its validation cases alone.

    Raises:
        DataError: the site is inconsistent, or has no validation cases.
    """
    found = with_only(load_site(folder, study.task), "val")
    if found is None:
        raise DataError(f"{folder}: has no frames in split 'val', on which a start is scored; give the site some there")
    return found


def all_cases(most: int) -> Chosen:
    """All cases of a site, whatever their split, each by at most `most` of its frames, evenly spread; 0: by all.

    What is returned raises DataError where a site is inconsistent.
    """

    def chosen(folder: Path, study: Study) -> SiteData:
        site = load_site(folder, study.task)
        split = pd.Series("train", index=site.frames.index)  # not scored, but a frame's past may lie there
        for rows in site.frames.groupby("case").groups.values():
            split[rows[evenly_spread(len(rows), most)]] = "test"
        return replace(site, frames=site.frames.assign(split=split))

    return chosen


def transfer(
    study: Study,
    start: Mapping[str, Tensor],
    data: Path,
    device: torch.device,
    progress: Callable[[str, int, int], None],
    cases: Chosen = validation_cases,
) -> pd.DataFrame:
    """Score `start` on some cases, if not told otherwise the validation cases, of every site folder below `data`.

    A site's labels are joined to whole instruments, and the network's probabilities of the parts are added up, so that
    sites which label different things give comparable numbers.

    Returns:
        One row per site: `site`, the measures (means over its cases, a case's over its frames), `cases`, `frames`.

    Raises:
        DataError: no site folder lies below `data`, or one is inconsistent or without such cases.
    """
    sites = sites_to_score(data, study, cases)
    model = ScoredModel(GLOBAL, start)
    rows: list[dict[str, Any]] = []
    for number, site in enumerate(sites, 1):
        scored = score_site(plan(study, "start"), with_whole_instruments(site), model, device)
        rows += [{"site": site.name} | row for row in scored.rows]
        progress("sites scored", number, len(sites))
    return site_means(pd.DataFrame(rows))


def sites_to_score(data: Path, study: Study, cases: Chosen = validation_cases) -> list[SiteData]:
    """The sites below `data`, each with the cases that a start is scored on.

    Raises:
        DataError: no site folder lies there, one is inconsistent or without such cases, or two have one name.
    """
    found: dict[str, SiteData] = {}
    for folder in site_folders(data):
        site = cases(folder, study)
        if site.name in found:
            raise DataError(f"{folder / SITE_FILE}: name {site.name!r} is that of another site there; give it its own")
        found[site.name] = site
    return list(found.values())


def site_folders(data: Path) -> list[Path]:
    """The site folders below `data`, sorted.

    Raises:
        DataError: there is none.
    """
    folders = sorted(file.parent for file in data.glob(f"*/{SITE_FILE}"))
    if not folders:
        raise DataError(f"{data}: holds no site folder ({SITE_FILE} is in none); give the folder that holds them")
    return folders

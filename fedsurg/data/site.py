"""One site's data as the rest of fedsurg sees it: who it is, its labels, and a table of its frames."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from fedsurg.data.labels import IGNORE, WHOLE, LabelSpace, label_indices, label_space
from fedsurg.data.manifest import find_manifest, problems_of, read_manifest
from fedsurg.data.site_file import SITE_FILE, SiteFile, read_site_file
from fedsurg.errors import DataError
from fedsurg.study.config import TaskConfig


@dataclass(frozen=True, eq=False)
class SiteData:
    """A validated site folder. Pixels are not read yet: see `fedsurg.data.clips` and `fedsurg.data.check`."""

    name: str
    procedure: str
    frame_rate_hz: float  # 0: single frames, no video
    simulated: bool
    root: Path
    labels: LabelSpace
    frames: pd.DataFrame  # image, mask (below root), case, clip, frame, split; sorted by case, clip, frame
    label_of_value: dict[int, int]  # mask value -> label index, IGNORE for values that are not labelled

    def split(self, name: str) -> pd.DataFrame:
        """The rows of one split, in order; empty if the site has none."""
        return self.frames[self.frames["split"] == name]

    def cases(self, split: str | None = None) -> tuple[str, ...]:
        """The names of all cases, or of one split's, sorted."""
        rows = self.frames if split is None else self.split(split)
        return tuple(sorted(set(rows["case"])))


def load_site(folder: Path, task: TaskConfig) -> SiteData:
    """Read `site.toml` and the manifest, and check all that can be checked without decoding a pixel.

    Raises:
        DataError: the first thing that is wrong, with its file and line.
    """
    site_file = read_site_file(folder)
    where = str(folder / SITE_FILE)
    labels = label_space(site_file, task, where=where)
    path = find_manifest(folder)
    rows = read_manifest(path)
    problems = list(problems_of(rows, path))
    if problems:
        more = f" ({len(problems) - 1} more: fedsurg data check {folder})" if len(problems) > 1 else ""
        raise DataError(problems[0] + more)
    return site_of(folder, site_file, task, labels, rows)


def site_of(folder: Path, site_file: SiteFile, task: TaskConfig, labels: LabelSpace, rows: pd.DataFrame) -> SiteData:
    """Put the checked pieces together, with the rows in order."""
    return SiteData(
        name=site_file.name,
        procedure=site_file.procedure,
        frame_rate_hz=site_file.frame_rate_hz,
        simulated=site_file.simulated,
        root=folder,
        labels=labels,
        frames=rows.sort_values(["case", "clip", "frame"], ignore_index=True),
        label_of_value=label_indices(site_file, task, labels),
    )


def with_whole_instruments(site: SiteData) -> SiteData:
    """The site as if it labelled instruments whole: background against all else, so that any two sites compare.

    A class that the site never labels stays missing.
    """
    labels = site.labels
    parts = tuple(sorted(member for members in labels.members[1:] for member in members))
    whole = LabelSpace((labels.names[0], WHOLE), (labels.members[0], parts), labels.missing, labels.classes)
    values = {value: label if label == IGNORE else min(label, 1) for value, label in site.label_of_value.items()}
    return replace(site, labels=whole, label_of_value=values)

"""What a job keeps from training: nothing but the held-out cases, one fold of cases, or one whole site."""

import re
from dataclasses import dataclass

from fedsurg.study.config import Study
from fedsurg.study_file.load import changed

_NAME = re.compile(r"(?P<method>.+?)(?:-fold(?P<fold>\d+)|-without-(?P<site>.+))?")


@dataclass(frozen=True)
class Holdout:
    """One fold, or one left-out site; neither: the manifest's splits.

    Args:
        fold: number of the fold.
        site: name of the site that trains nothing.
    """

    fold: int | None = None
    site: str = ""

    def __str__(self) -> str:
        """As a job's name ends: `-fold0`, `-without-north`, or nothing."""
        if self.site:
            return f"-without-{self.site}"
        return "" if self.fold is None else f"-fold{self.fold}"

    @classmethod
    def of_name(cls, name: str) -> tuple[str, "Holdout"]:
        """Method and holdout of a job that is called `name`."""
        match = _NAME.fullmatch(name)
        assert match is not None  # any text that is not empty matches
        fold, site = match["fold"], match["site"]
        return match["method"], cls(None if fold is None else int(fold), site or "")

    def study(self, study: Study) -> Study:
        """What the job runs: where a site is left out, the same study in which it is unseen."""
        if not self.site:
            return study
        values = study.resolved()
        for site in values["sites"]:
            site["role"] = "unseen" if site["name"] == self.site else site["role"]
        return changed(study, {"sites": values["sites"], "evaluation.leave_one_site_out": False})


def left_out_name(site: str) -> str:
    """What tables call a site where it was left out, beside the rows in which it trained."""
    return f"{site}, left out"


def holdouts(study: Study) -> tuple[Holdout, ...]:
    """All that the study asks for, in order."""
    if study.evaluation.leave_one_site_out:
        return tuple(Holdout(site=site.name) for site in study.federated)
    return tuple(Holdout(fold) for fold in range(study.evaluation.folds)) or (Holdout(),)

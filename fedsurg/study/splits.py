"""Which cases a site must have: looked for in its data before a run, in what it draws as a study is read."""

from collections.abc import Mapping
from typing import NamedTuple

from fedsurg.study.config import SiteConfig, Study

FEWEST_TO_ADAPT = 2  # cases: one to train on, one to check on


class Lack(NamedTuple):
    """A split without enough cases, why it needs them, and what would do instead, if anything."""

    split: str
    why: str
    otherwise: str = ""

    def told(self, remedy: str) -> str:
        """Why, and what to do: `remedy`, or what would do instead."""
        return f"{self.why}; {remedy}" + (f", or {self.otherwise}" if self.otherwise else "")


def lacking_split(site: SiteConfig, study: Study, cases: Mapping[str, int]) -> Lack | None:
    """The first split that has no case and needs one.

    Args:
        cases: how many are in `train`, `val` and `test`.
    """
    evaluation = study.evaluation
    adapts = study.adaptation.enabled and (site.role == "unseen" or evaluation.leave_one_site_out)
    if adapts and cases["train"] < FEWEST_TO_ADAPT:
        return Lack(
            "train",
            f"has {cases['train']} cases in split 'train', adaptation needs {FEWEST_TO_ADAPT}: one to train on and one "
            "to check on",
            "set adaptation.enabled = false",
        )
    if site.role == "unseen":
        if cases["val"] or cases["test"] or evaluation.unseen_cases == "all":
            return None
        return Lack("test", "has no cases in split 'test' or 'val' to be scored on")
    if evaluation.choose == "best" and not cases["test"]:
        return Lack(
            "test",
            "has no cases in split 'test', and evaluation.choose = 'best' chooses the round on its val cases, so its "
            "scores would be those it was chosen for",
            "set choose = 'last'",
        )
    if not evaluation.folds:
        for split in ("train", "val"):
            if not cases[split]:
                return Lack(split, f"has no cases in split {split!r}", "set evaluation.folds")
    return None

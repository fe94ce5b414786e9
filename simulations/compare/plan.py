"""What a comparison consists of: variants (methods or controls), and one cell per variant, seed and holdout."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fedsurg.errors import StudyError
from fedsurg.files import digest_of
from fedsurg.methods.registry import METHODS
from fedsurg.study.config import Study
from fedsurg.study.digest import study_digest
from fedsurg.study_file.holdout import Holdout, holdouts
from fedsurg.study_file.load import changed
from simulations.compare.ablations import ABLATIONS

Family = Literal["methods", "ablations"]
ALL = "all"


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    Args:
        family: the table it stands in.
        name: a method's name, or a control's.
        meaning: one line for people.
        method: row of the registry.
        study: what it runs; that of the comparison, with the control's keys changed.
        reduced: the start has tensors that this network has not.
        model: which of the unseen site's models is read; empty: the one a site is judged by.
    """

    family: Family
    name: str
    meaning: str
    method: str
    study: Study
    reduced: bool = False
    model: str = ""


@dataclass(frozen=True)
class Cell:
    """One variant with one seed on one holdout: a job of its own."""

    variant: Variant
    seed: int
    holdout: Holdout

    @property
    def name(self) -> str:
        """As in the folder: `fedst-seed0`, `fedst-seed0-fold1` or `fedst-seed0-without-north`."""
        return f"{self.variant.name}-seed{self.seed}{self.holdout}"

    def study(self) -> Study:
        """What the job runs. The seed is that of all that happens after the common start."""
        return self.holdout.study(changed(self.variant.study, {"seed": self.seed}))


@dataclass(frozen=True)
class Plan:
    """All variants and seeds of a comparison; `study` is as the person gave it. `reference` is the method that the
    others are held against; empty: FedST, or the first method where that did not run.
    """

    study: Study
    methods: tuple[str, ...]
    ablate: bool
    seeds: int
    reference: str = ""

    @property
    def digest(self) -> str:
        """What the folder belongs to. Methods and seeds are left out: more of them can be added later."""
        return digest_of({"compare": study_digest(self.study.model_copy(update={"methods": ()}))})

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The study's own seed and those after it."""
        return tuple(range(self.study.seed, self.study.seed + self.seeds))

    def variants(self) -> list[Variant]:
        """Methods, then controls."""
        found = [
            Variant("methods", name, METHODS[name].summary, name, changed(self.study, {"methods": [name]}))
            for name in self.methods
        ]
        if self.ablate:
            found += [
                Variant(
                    "ablations",
                    row.name,
                    row.meaning,
                    row.method,
                    changed(self.study, {"methods": [row.method], **row.overrides}),
                    row.start == "reduced",
                    row.model,
                )
                for row in ABLATIONS
            ]
        return found

    def sources(self) -> dict[tuple[Family, str], Variant]:
        """Family and name of each variant -> the variant whose cells it reads: the first that runs the same."""
        first: dict[str, Variant] = {}
        return {
            (variant.family, variant.name): first.setdefault(study_digest(variant.study), variant)
            for variant in self.variants()
        }

    def cells(self) -> list[Cell]:
        """Seed by seed, so that a comparison that was stopped early still holds all variants."""
        runs = list(dict.fromkeys((source.name, source.family) for source in self.sources().values()))
        variants = {(variant.name, variant.family): variant for variant in self.variants()}
        return [
            Cell(variants[key], seed, holdout)
            for seed in self.seed_numbers
            for holdout in holdouts(self.study)
            for key in runs
        ]


def chosen_methods(words: str | None, default: Sequence[str]) -> tuple[str, ...]:
    """The methods that `--methods` names, in order; `all` stands for every row of the registry.

    Raises:
        StudyError: a name is unknown, or there is none.
    """
    if words is None:
        return tuple(default)
    names = [word.strip() for word in words.split(",") if word.strip()]
    if not names:
        raise StudyError(f"--methods {words!r}: names no method; give {ALL}, or some of {_known(METHODS)}")
    for name in names:
        if name not in METHODS and name != ALL:
            close = difflib.get_close_matches(name, [*METHODS, ALL], n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise StudyError(f"--methods: {name!r} is unknown; {hint}known: {ALL}, {_known(METHODS)}")
    return tuple(METHODS) if ALL in names else tuple(dict.fromkeys(names))


def _known(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))

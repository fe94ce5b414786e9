"""Which study classes a site's labels stand for: hospitals label different things, few label everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from fedsurg.data.site_file import SiteFile
from fedsurg.errors import DataError
from fedsurg.study.config import TaskConfig

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

IGNORE = 255  # in a label map: not labelled here, contributes nothing to loss or score
WHOLE = "instrument"  # a site name that needs no `unions` entry: it covers every class but the background


@overload
def is_instrument(label: torch.Tensor) -> torch.Tensor: ...
@overload
def is_instrument(label: NDArray[np.integer]) -> NDArray[np.bool_]: ...
def is_instrument(label: Any) -> Any:
    """Where a label map, of any shape, names anything but the background: a bool map of the same kind and shape."""
    return (label > 0) & (label != IGNORE)


@dataclass(frozen=True)
class LabelSpace:
    """The labels of one site, as a partition of the study classes it labels.

    Every study class belongs to exactly one label or is missing. A label that covers several classes says
    "one of these": a whole instrument at a site, its parts in the study.
    """

    names: tuple[str, ...]  # labels that occur in this site's masks; index 0 is the background
    members: tuple[tuple[int, ...], ...]  # study-class indices each label covers
    missing: tuple[int, ...]  # study classes the site never labels
    classes: int  # K of the study

    def membership(self) -> torch.Tensor:
        """(labels, classes) bool: label covers class."""
        import torch

        table = torch.zeros(len(self.names), self.classes, dtype=torch.bool)
        for label, members in enumerate(self.members):
            table[label, list(members)] = True
        return table


def label_space(site: SiteFile, task: TaskConfig, *, where: str = "site.toml") -> LabelSpace:
    """Map the site's names onto the study's classes.

    Names that cover the same classes are merged into one label: a study class by its own name, several
    classes by the first site name that covers them.

    Args:
        where: the file named in errors.

    Raises:
        DataError: a name fits nothing, a class is covered twice, or a class is neither labelled nor missing.
    """
    found: dict[tuple[int, ...], str] = {}
    for name in site.mask_values:
        members = members_of(name, site, task, where=where)
        found.setdefault(members, task.classes[members[0]] if len(members) == 1 else name)
    missing = tuple(index for index, name in enumerate(task.classes) if name in site.missing)
    _check_partition(found, missing, task, where)
    ordered = sorted(found)
    return LabelSpace(tuple(found[members] for members in ordered), tuple(ordered), missing, len(task.classes))


def label_indices(site: SiteFile, task: TaskConfig, labels: LabelSpace) -> dict[int, int]:
    """Mask value -> index of its label in `labels`, `IGNORE` for ignored values."""
    indices = {members: label for label, members in enumerate(labels.members)}
    values = {value: indices[members_of(name, site, task)] for value, name in site.names_of_values.items()}
    return values | dict.fromkeys(site.ignore_values, IGNORE)


def own_task(site: SiteFile, *, where: str = "site.toml") -> TaskConfig:
    """A task whose classes are the site's own names: what a folder is checked against without a study.

    Raises:
        DataError: there is only one name, or none is the background.
    """
    names = [*site.mask_values, *(name for name in site.missing if name not in site.mask_values)]
    names.sort(key=lambda name: name != "background")
    if names[0] != "background":
        raise DataError(f"{where}: mask_values has no 'background'; give what is none of {', '.join(names)} that name")
    if len(names) < 2:
        raise DataError(f"{where}: mask_values holds only {names[0]!r}; name the background and one class or more")
    return TaskConfig(classes=tuple(names))


def members_of(name: str, site: SiteFile, task: TaskConfig, *, where: str = "site.toml") -> tuple[int, ...]:
    """The study classes that the site's `name` covers, ascending; a class, a part of one, or a union.

    Raises:
        DataError: the name fits nothing.
    """
    if name in _class_of(task):
        return (_class_of(task)[name],)
    if name in site.unions:
        parts = site.unions[name]
        strange = [part for part in parts if part not in _class_of(task)]
        if strange or not parts:
            raise DataError(
                f"{where}: unions.{name} lists {strange or 'nothing'}; allowed are the study's classes {_known(task)}"
            )
        return tuple(sorted({_class_of(task)[part] for part in parts}))
    if name == WHOLE:
        return tuple(index for index in range(1, len(task.classes)) if task.classes[index] not in site.missing)
    raise DataError(
        f"{where}: mask_values.{name} is no class of the study; allowed are {_known(task)}. Rename it, list "
        "it in task.includes of the study, spell it out in [unions], or move its value to ignore_values"
    )


def _class_of(task: TaskConfig) -> Mapping[str, int]:
    """Every name that stands for exactly one class -> that class; a class's own name comes first."""
    included = {part: task.classes.index(name) for name, parts in task.includes.items() for part in parts}
    return included | {name: index for index, name in enumerate(task.classes)}


def _known(task: TaskConfig) -> str:
    included = sorted({part for parts in task.includes.values() for part in parts})
    return ", ".join(task.classes) + (f" (includes: {', '.join(included)})" if included else "")


def _check_partition(
    found: Mapping[tuple[int, ...], str], missing: tuple[int, ...], task: TaskConfig, where: str
) -> None:
    """Every class once: in one label, or missing."""
    if () in found:
        raise DataError(f"{where}: {found[()]!r} covers no class, missing lists them all; remove its mask value")
    for index, name in enumerate(task.classes):
        covering = list(_covering(index, found))
        if len(covering) > 1:
            raise DataError(
                f"{where}: class {name!r} is covered by both {covering[0]!r} and {covering[1]!r}; label each "
                "class in one way, and list the other mask values in ignore_values"
            )
        if covering and index in missing:
            raise DataError(f"{where}: missing lists {name!r}, but mask_values labels it; remove one of the two")
        if not covering and index not in missing:
            raise DataError(
                f"{where}: class {name!r} of the study is neither in mask_values "
                f"({', '.join(found.values())}) nor declared missing; give its mask value, or add "
                f"missing = [{name!r}] if the site never labels it"
            )
    if 0 in missing or (0,) not in found:
        raise DataError(
            f"{where}: the background, {task.classes[0]!r}, needs a mask value of its own; it can be "
            "neither missing nor part of a union"
        )


def _covering(index: int, found: Mapping[tuple[int, ...], str]) -> Iterator[str]:
    return (label for members, label in found.items() if index in members)

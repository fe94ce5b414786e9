"""Where a site's own tensors lie: plain files in a simulation, sealed ones (`site_client.vault`) in a hospital."""

import contextlib
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from fedsurg.tensor_file import read_tensors, write_tensors

log = logging.getLogger("fedsurg.site")

Content = tuple[dict[str, Tensor], dict[str, Any]]


class SiteFiles(Protocol):
    """Tensors with plain facts under names such as `personal` or `private/round-000003`: of one site in one study.

    All raise a `CheckpointError` for what cannot be read, written or trusted.
    """

    def write(self, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write whole or not at all, in place of what had the name."""

    def read(self, name: str) -> Content:
        """What was written last under the name."""

    def names(self) -> list[str]:
        """The names that `read` knows, sorted."""

    def remove(self, names: Collection[str]) -> None:
        """Delete what newer states have replaced."""

    def begin_anew(self, number: int, kept: Sequence[int]) -> None:
        """Say, or refuse, that the site works in round `number` without a state from before; it has those of `kept`."""

    def set_aside(self, names: Collection[str], why: str) -> None:
        """Take states out of use that the server has lost."""


class PlainFiles:
    """Safetensors files in the clear, in one folder: for simulations, where all is on one machine anyway."""

    def __init__(self, folder: Path, site: str) -> None:
        self._folder, self._site = folder, site

    def write(self, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """See `SiteFiles`."""
        write_tensors(self._path(name), tensors, facts)

    def read(self, name: str) -> Content:
        """See `SiteFiles`."""
        return read_tensors(self._path(name))

    def names(self) -> list[str]:
        """See `SiteFiles`."""
        found = self._folder.rglob("[!.]*.safetensors") if self._folder.is_dir() else ()
        return sorted(path.relative_to(self._folder).with_suffix("").as_posix() for path in found)

    def remove(self, names: Collection[str]) -> None:
        """See `SiteFiles`."""
        for name in names:
            with contextlib.suppress(OSError):
                self._path(name).unlink()

    def begin_anew(self, number: int, kept: Sequence[int]) -> None:
        """Nothing is refused here: the engines compare runs, and a person can begin again."""
        if number > 1 and kept:
            log.warning("site %s: no private state is left from before round %s; it begins anew", self._site, number)

    def set_aside(self, names: Collection[str], why: str) -> None:
        """They are deleted: a simulation can make them again."""
        self.remove(names)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"

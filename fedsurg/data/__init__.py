"""Site data: a folder with `site.toml` and a manifest, its checks, and the clips networks train on.

The names below are imported on first use: `fedsurg data check` needs neither torch nor torchvision, and
should not wait for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedsurg.data.augment import Augmentation
    from fedsurg.data.check import SiteReport, check_site
    from fedsurg.data.clips import Clip, ClipDataset, FrameId
    from fedsurg.data.folds import case_folds, with_fold
    from fedsurg.data.labels import IGNORE, LabelSpace, label_space
    from fedsurg.data.loader import Batch, ClipLoader, PooledLoader
    from fedsurg.data.normalisation import normalise
    from fedsurg.data.site import SiteData, load_site

__all__ = [
    "IGNORE",
    "Augmentation",
    "Batch",
    "Clip",
    "ClipDataset",
    "ClipLoader",
    "FrameId",
    "LabelSpace",
    "PooledLoader",
    "SiteData",
    "SiteReport",
    "case_folds",
    "check_site",
    "label_space",
    "load_site",
    "normalise",
    "with_fold",
]

_MODULES = {
    "augment": ("Augmentation",),
    "check": ("SiteReport", "check_site"),
    "clips": ("Clip", "ClipDataset", "FrameId"),
    "folds": ("case_folds", "with_fold"),
    "labels": ("IGNORE", "LabelSpace", "label_space"),
    "loader": ("Batch", "ClipLoader", "PooledLoader"),
    "normalisation": ("normalise",),
    "site": ("SiteData", "load_site"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the module that defines `name`."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

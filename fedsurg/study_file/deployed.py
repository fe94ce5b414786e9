"""What a study needs so that a coordinator and hospitals can run it; a simulation needs less."""

from fedsurg.errors import StudyError
from fedsurg.methods.registry import METHODS
from fedsurg.study.config import SiteConfig, Study
from fedsurg.study.start import KEY


def method_of(study: Study, method: str | None, source: str) -> str:
    """The method that a person named, or the study's first.

    Raises:
        StudyError: the study does not list it; `source` names the study.
    """
    name = method or study.methods[0]
    if name not in study.methods:
        raise StudyError(f"--method {name!r} is not in {source}; it has {', '.join(study.methods)}")
    return name


def require_deployable(study: Study, method: str, source: str) -> None:
    """The study begins from a file that all ends have, and nobody needs another's frames.

    Args:
        study: to be run.
        method: of the registry.
        source: names the study in errors.

    Raises:
        StudyError: it trains its own start or one of its own further, or pools data.
    """
    if not study.server.pretrain.start:
        raise StudyError(
            f'{source}: {KEY}: is empty, but all ends must begin from the same file; set it to "shipped", or make one '
            "with fedsurg pretrain STUDY.toml --out FILE and give that file to every site"
        )
    if study.server.pretrain.further_steps:
        raise StudyError(
            f"{source}: server.pretrain.further_steps: all ends must begin from the same file as it is; train it "
            "further with fedsurg pretrain STUDY.toml --out FILE, name that file, and set further_steps = 0"
        )
    if METHODS[method].grouping != "federated":
        raise StudyError(
            f"{source}: methods: {method!r} cannot run between hospitals, as it is a control for simulations; choose "
            "another with --method"
        )


def federated_site(study: Study, name: str, source: str) -> SiteConfig:
    """The site called `name`.

    Raises:
        StudyError: the study does not name it, or names it as one that does not train.
    """
    known = {site.name: site for site in study.federated}
    if name not in known:
        raise StudyError(
            f"{source}: sites: {name!r} is not among the sites that train ({', '.join(known)}); ask the coordinator "
            "whether this is the study it means"
        )
    return known[name]

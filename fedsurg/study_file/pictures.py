"""The folders of pictures that `[synthetic]` names: what is in them becomes part of the study."""

from fedsurg.errors import SimulatorError, StudyError
from fedsurg.simulator.of_study import pictures_of
from fedsurg.study.config import Study, SyntheticConfig
from fedsurg.study.digest import PICTURE_FOLDERS

PICTURES = tuple(f"synthetic.{key}" for key in PICTURE_FOLDERS)


def with_picture_digests(study: Study, source: str) -> Study:
    """The study with the SHA-256 of its picture folders filled in; `source` names the study in errors.

    Raises:
        StudyError: a folder is missing or empty, or does not hold what the study's SHA-256 says.
    """
    config = study.synthetic
    for key, folder, given in zip(PICTURE_FOLDERS, _folders(config), _digests(config), strict=True):
        if given and not folder:
            raise StudyError(
                f"{source}: synthetic.{key}_sha256: is set, but synthetic.{key} is empty; name the folder, or remove "
                "the digest"
            )
    if not any(_folders(config)):
        return study
    try:
        found = pictures_of(config).digests()
    except SimulatorError as problem:
        raise StudyError(f"{source}: [synthetic]: {problem}") from problem
    for key, folder, given in zip(PICTURE_FOLDERS, _folders(config), _digests(config), strict=True):
        if given not in ("", found[key]):
            raise StudyError(
                f"{source}: synthetic.{key}: {folder} holds pictures with the SHA-256 {found[key][:16]}, {key}_sha256 "
                f"asks for {given[:16]}; get those pictures, or change {key}_sha256"
            )
    synthetic = config.model_copy(update={f"{key}_sha256": found[key] for key in PICTURE_FOLDERS})
    return study.model_copy(update={"synthetic": synthetic})


def _folders(config: SyntheticConfig) -> tuple[str, str]:
    return config.backgrounds, config.instruments


def _digests(config: SyntheticConfig) -> tuple[str, str]:
    return config.backgrounds_sha256, config.instruments_sha256

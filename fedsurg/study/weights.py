"""The file of encoder weights that a study may name: what is in it becomes part of the study."""

from pathlib import Path

from fedsurg.errors import StudyError
from fedsurg.files import sha256_of_file
from fedsurg.study.config import Study

KEY = "network.encoder_weights"


def with_weights_digest(study: Study, source: str) -> Study:
    """The study with the SHA-256 of its encoder weights filled in, if they are a local file and no name on a hub.

    Raises:
        StudyError: the file cannot be read, or is not the one whose SHA-256 the study gives; `source` names the study.
    """
    config = study.network
    path = Path(config.encoder_weights)
    if not (config.encoder_weights and path.is_file()):
        if config.encoder_weights_sha256:
            what = f"{config.encoder_weights!r} is no local file" if config.encoder_weights else f"{KEY} is empty"
            raise StudyError(f"{source}: {KEY}_sha256: is set, but {what}; name the file, or remove the digest")
        return study
    try:
        found = sha256_of_file(path)
    except OSError as problem:
        raise StudyError(f"{source}: {KEY}: {path}: {problem.strerror}; give a file that can be read") from problem
    if config.encoder_weights_sha256 not in ("", found):
        raise StudyError(
            f"{source}: {KEY}: {path} has the SHA-256 {found[:16]}, encoder_weights_sha256 asks for "
            f"{config.encoder_weights_sha256[:16]}; get that file, or change encoder_weights_sha256"
        )
    return study.model_copy(update={"network": config.model_copy(update={"encoder_weights_sha256": found})})

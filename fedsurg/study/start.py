"""The start file that a study names: where it lies and what its bytes are; light, as every study is read with it."""

from pathlib import Path

from fedsurg.errors import StudyError
from fedsurg.files import sha256_of_file
from fedsurg.study.config import Study

SHIPPED_NAME = "shipped"
SHIPPED = Path(__file__).parent.parent / "models" / "weights" / "start.safetensors"
KEY = "server.pretrain.start"


def start_path(start: str) -> Path:
    """The file that a study's `server.pretrain.start` stands for."""
    return SHIPPED if start == SHIPPED_NAME else Path(start).expanduser()


def with_start_digest(study: Study, source: str) -> Study:
    """The study with the SHA-256 of its start file filled in; `source` names the study in errors.

    Raises:
        StudyError: the file is missing, or is not the one whose SHA-256 the study gives; or a key needs a file and
            none is named.
    """
    config = study.server.pretrain
    if not config.start:
        if config.further_steps:
            raise StudyError(
                f"{source}: server.pretrain.further_steps: is set, but {KEY} is empty; name the file that is trained "
                "further, or set steps"
            )
        if config.start_sha256:
            raise StudyError(f"{source}: {KEY}_sha256: is set, but {KEY} is empty; name the file, or remove the digest")
        return study
    found = start_sha256(config.start, source)
    if config.start_sha256 not in ("", found):
        raise StudyError(
            f"{source}: {KEY}: {start_path(config.start)} has the SHA-256 {found[:16]}, "
            f"start_sha256 asks for {config.start_sha256[:16]}; get that file, or change start_sha256"
        )
    pretrain = config.model_copy(update={"start_sha256": found})
    return study.model_copy(update={"server": study.server.model_copy(update={"pretrain": pretrain})})


def start_sha256(start: str, source: str) -> str:
    """SHA-256 (hex) of a start file.

    Raises:
        StudyError: it cannot be read; `source` names the study.
    """
    path = start_path(start)
    try:
        return sha256_of_file(path)
    except OSError as problem:
        what = "this installation ships no start" if start == SHIPPED_NAME else f"{path}: {problem.strerror or problem}"
        raise StudyError(
            f"{source}: {KEY}: {what}; give the path of that file here, or make one with fedsurg "
            "pretrain STUDY.toml --out FILE"
        ) from problem

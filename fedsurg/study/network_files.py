"""The files that `[network]` may name, encoder weights and text vectors: what is in them becomes part of the study."""

from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

from fedsurg.errors import StudyError
from fedsurg.files import sha256_of_file
from fedsurg.study.config import GateConfig, NetworkConfig, Study

WEIGHTS, TEXT_MODEL = "network.encoder_weights", "network.gate.text_model"
NETWORK_FILES = (WEIGHTS, TEXT_MODEL)

Table = TypeVar("Table", NetworkConfig, GateConfig)


def with_network_digests(study: Study, source: str, keys: Collection[str] = NETWORK_FILES) -> Study:
    """The study with the SHA-256 of each such file filled in, if it is a local file and no folder or name on a hub.

    Args:
        source: names the study in errors.
        keys: the files to look at.

    Raises:
        StudyError: a file cannot be read, or is not the one whose SHA-256 the study gives.
    """
    network = study.network
    if WEIGHTS in keys:
        network = _with_digest(network, WEIGHTS, source)
    if TEXT_MODEL in keys:
        network = network.model_copy(update={"gate": _with_digest(network.gate, TEXT_MODEL, source)})
    return study.model_copy(update={"network": network})


def _with_digest(table: Table, key: str, source: str) -> Table:
    name = key.rpartition(".")[2]
    given, expected = getattr(table, name), getattr(table, f"{name}_sha256")
    path = Path(given).expanduser()
    if not (given and path.is_file()):
        if expected:
            what = f"{given!r} is no local file" if given else f"{key} is empty"
            raise StudyError(f"{source}: {key}_sha256: is set, but {what}; name the file, or remove the digest")
        return table
    try:
        found = sha256_of_file(path)
    except OSError as problem:
        raise StudyError(f"{source}: {key}: {path}: {problem.strerror}; give a file that can be read") from problem
    if expected not in ("", found):
        raise StudyError(
            f"{source}: {key}: {path} has the SHA-256 {found[:16]}, {name}_sha256 asks for {expected[:16]}; get that "
            f"file, or change {name}_sha256"
        )
    return table.model_copy(update={f"{name}_sha256": found})

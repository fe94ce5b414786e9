"""The start as a file that travels: float16 weights, with the facts that explain a mistake.

`fedsurg pretrain` makes it, and a study begins from it when `server.pretrain.start` names it. The cache of trained
starts is another thing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedsurg.errors import CheckpointError, NetworkError
from fedsurg.models.encoder import keeps_batch_statistics
from fedsurg.models.network import SegmentationNetwork, network_of
from fedsurg.study.config import NetworkConfig, Study
from fedsurg.study.start import KEY, start_path, start_sha256
from fedsurg.tensor_file import read_tensors, write_tensors

FORMAT = 1
_ADVICE = 'make one for this study with fedsurg pretrain STUDY.toml --out FILE, or set "" to train one'
# Keys that say what the weights mean; pooling and history_gradient may differ, encoder_weights no longer matters.
_NETWORK = ("encoder", "colour", "pyramid_channels", "segmentation_channels")
_TEMPORAL = ("frames", "channels", "heads", "feed_forward")


def write_start(path: Path, study: Study, tensors: Mapping[str, Tensor], training: Mapping[str, Any]) -> None:
    """Write the start of `study` as float16; the same tensors and facts give the same bytes.

    Args:
        path: of the file.
        study: whose classes, image size and network the weights are for.
        tensors: all of the network, by canonical name.
        training: plain facts of how they were made.

    Raises:
        NetworkError: the encoder keeps batch statistics, or a weight is too large for float16.
        CheckpointError: the file cannot be written.
    """
    network = writable_network(study)
    half = {name: value.detach().to(torch.float16) for name, value in tensors.items()}
    for name, value in half.items():
        if not bool(torch.isfinite(value).all()):
            raise NetworkError(f"tensor {name!r}: holds a value that float16 cannot; train with a lower learning rate")
    write_tensors(path, half, start_facts(study, network) | {"training": dict(training)})


def writable_network(study: Study) -> SegmentationNetwork:
    """The network of a study whose weights a start file can hold.

    Raises:
        NetworkError: the encoder keeps batch statistics, or see `network_of`.
    """
    network = network_of(study)
    if keeps_batch_statistics(network):
        raise NetworkError(
            f"network.encoder: {study.network.encoder} keeps batch statistics, which a start file does not hold; "
            "use an encoder without, such as pvt_v2_b0"
        )
    return network


def start_facts(study: Study, network: SegmentationNetwork) -> dict[str, Any]:
    """What a start file says about itself, apart from its training."""
    return {
        "format": FORMAT,
        "classes": list(study.task.classes),
        "image_size": list(study.task.image_size),
        "network": _identity(study.network),
        "parts": network.parts(),
    }


def read_start(study: Study) -> dict[str, Tensor]:
    """The float32 tensors of the start file that `study` names, checked against its network.

    The temporal layer of the file is dropped where the study has none.

    Raises:
        NetworkError: the file is no start, or one for other classes or another network.
        StudyError: it is gone, or another one than when the study was read.
    """
    path = start_path(study.server.pretrain.start)
    if start_sha256(study.server.pretrain.start, study.name) != study.server.pretrain.start_sha256:
        raise NetworkError(f"{KEY}: {path} was changed after the study was read; run the command again")
    try:
        tensors, facts = read_tensors(path)
    except CheckpointError as problem:
        raise NetworkError(f"{KEY}: {path} is no safetensors file; {_ADVICE}") from problem
    if facts.get("format") != FORMAT:
        raise NetworkError(f"{KEY}: {path} is no start of this version of fedsurg; {_ADVICE}")
    parts = facts.get("parts", {})
    if not (isinstance(parts, dict) and isinstance(facts.get("network", {}), dict)):
        raise NetworkError(f"{KEY}: {path} says of itself what no start does; {_ADVICE}")
    _check(path, facts, study)
    for name, value in tensors.items():
        if not (value.is_floating_point() and bool(torch.isfinite(value).all())):
            raise NetworkError(f"{KEY}: {path} is damaged: tensor {name!r} holds a value that is no number; {_ADVICE}")
    dropped = () if study.network.temporal.enabled else ("temporal",)
    kept = {name: value.float() for name, value in tensors.items() if parts.get(name) not in dropped}
    try:
        network_of(study).load_tensors(kept, strict=True)
    except NetworkError as problem:
        raise NetworkError(f"{KEY}: {path} does not fit the study's network: {problem}; {_ADVICE}") from problem
    return kept


def _check(path: Path, facts: Mapping[str, Any], study: Study) -> None:
    """Classes first, then every key that decides what the weights mean."""
    classes = list(study.task.classes)
    if facts.get("classes") != classes:
        raise NetworkError(
            f"{KEY}: {path} tells the classes {facts.get('classes')} apart, task.classes is {classes}; "
            f"set task.classes to those of the file, or {_ADVICE}"
        )
    theirs = {"colour": "rgb"} | facts.get("network", {})  # older files do not say it
    for key, wanted in _identity(study.network).items():
        if key.startswith("temporal.") and not study.network.temporal.enabled:
            continue
        if key not in theirs:
            raise NetworkError(
                f"{KEY}: {path} has no temporal layer; set network.temporal.enabled = false, or {_ADVICE}"
            )
        if theirs[key] != wanted:
            raise NetworkError(
                f"{KEY}: {path} is of another network: network.{key} is {wanted!r} here and {theirs[key]!r} there; "
                f"use that value, or {_ADVICE}"
            )


def _identity(config: NetworkConfig) -> dict[str, Any]:
    """Dotted key below `[network]` -> value."""
    found = {key: getattr(config, key) for key in _NETWORK}
    if config.temporal.enabled:
        found |= {f"temporal.{key}": getattr(config.temporal, key) for key in _TEMPORAL}
    return found

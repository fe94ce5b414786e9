"""The encoder: a timm backbone read as a pyramid, its query projections marked as a part of their own."""

import sys
from pathlib import Path
from pickle import UnpicklingError
from typing import Self

import timm
import torch
from safetensors import SafetensorError
from timm.layers.drop import DropPath
from timm.models import load_checkpoint
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedsurg.errors import NetworkError
from fedsurg.models.backbones import QUERY_NAMES, attention_blocks, build_backbone, pyramid_of
from fedsurg.models.parts import mark

# What timm raises of a file that is empty, of another kind or of another network.
_NO_WEIGHTS = (
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    SafetensorError,
    UnpicklingError,
)
_CALIBRATION = (4, 3, 128, 160)  # shape of the noise that sets batch-norm statistics of a random backbone


class Encoder(nn.Module):
    """Four feature maps, at strides 4, 8, 16 and 32, of one frame each.

    Batch normalisation inside a backbone (PVTv2 has none) always runs on the statistics it was built with:
    the weight file's or, for random weights, those of one batch of seeded noise. They are constants, equal
    wherever the study's network is built: nothing about a site's frames is collected in them, and a model
    averaged from several sites needs none of its own. Dropout inside a backbone is off, so that a stream, a
    clip and a teacher see the same features.

    Args:
        name: a timm backbone, see `backbones.supported_encoders`.
        weights: "" for random values, else a local file or a hub name, see `load_weights`.

    Raises:
        NetworkError: the backbone does not fit, or the weights cannot be had.
    """

    def __init__(self, name: str, weights: str = "") -> None:
        super().__init__()
        pyramid = pyramid_of(name)
        self.channels = pyramid.channels
        self.body = build_backbone(name, pyramid.indices)
        mark(self, "encoder")
        for block in attention_blocks(self.body).values():
            for child, module in block.named_children():
                if child in QUERY_NAMES:
                    mark(module, "query")
        if weights:
            load_weights(self.body, name, weights)
        else:
            _calibrate(self.body)
        self.train()

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Encode frames.

        Args:
            frames: (n,3,h,w), h and w multiples of 32.

        Returns:
            Four maps (n,c,h/s,w/s), s = 4, 8, 16, 32 and c = `channels`.
        """
        maps: list[Tensor] = self.body(frames)
        return maps

    def train(self, mode: bool = True) -> Self:
        """As usual, but batch normalisation stays on its constants and nothing is dropped."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, (_BatchNorm, nn.Dropout, DropPath)):
                module.training = False
        return self


def keeps_batch_statistics(module: nn.Module) -> bool:
    """It has batch normalisation: its statistics are no parameters, so neither a start file nor a start holds them."""
    return any(isinstance(inner, _BatchNorm) for inner in module.modules())


def load_weights(body: nn.Module, name: str, weights: str) -> None:
    """Fill `body` from a local file (safetensors or torch) or, through timm, from a hub name or a timm tag.

    Raises:
        NetworkError: no such file or name, or it does not hold this backbone.
    """
    file = Path(weights).expanduser()
    full = _from_file(name, str(file)) if file.is_file() else _from_hub(name, weights)
    # timm's feature extractor writes "stages_0" for the full model's "stages.0"
    source = {key.replace(".", "_"): value for key, value in full.state_dict().items()}
    try:
        body.load_state_dict({key: source[key.removeprefix("model.").replace(".", "_")] for key in body.state_dict()})
    except (KeyError, RuntimeError) as problem:
        raise NetworkError(f"network.encoder_weights: {weights!r} is not a {name} ({problem})") from problem


def _from_file(name: str, weights: str) -> nn.Module:
    full: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    convert = getattr(sys.modules[type(full).__module__], "checkpoint_filter_fn", None)  # for older releases
    try:
        missing = load_checkpoint(full, weights, strict=False, filter_fn=convert).missing_keys
    except _NO_WEIGHTS as problem:
        raise NetworkError(f"network.encoder_weights: {weights} does not fit {name} ({problem!r})") from problem
    if missing:
        raise NetworkError(
            f"network.encoder_weights: {weights} lacks {len(missing)} tensors of {name}, first {missing[0]}; "
            "give a checkpoint of this backbone"
        )
    return full


def _from_hub(name: str, weights: str) -> nn.Module:
    target = weights if weights.startswith("hf-hub:") else f"{name}.{weights}"
    try:
        full: nn.Module = timm.create_model(target, pretrained=True)
    except Exception as problem:  # timm and its hub client raise many kinds; all mean "cannot be had"
        raise NetworkError(
            f"network.encoder_weights: {weights!r} is no local file and cannot be had as {target!r} "
            f"({type(problem).__name__}: {problem}); give the path of a .safetensors or .pth file of this "
            "backbone, or leave it empty for random weights"
        ) from problem
    return full


def _calibrate(body: nn.Module) -> None:
    """Set a random backbone's batch-norm statistics from one batch of noise: signals keep their scale."""
    norms = [module for module in body.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # a plain mean over what has been seen: of one batch, that batch
    with torch.no_grad():
        body.train()(torch.randn(_CALIBRATION))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum

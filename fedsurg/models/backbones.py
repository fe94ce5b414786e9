"""Which timm backbones fit: a feature pyramid, and a query projection of its own in every attention block.

The query is what stays at a site (FedST), so a backbone that computes query, key and value in one fused
matrix cannot be used. A backbone is judged by building it on torch's meta device (no memory, no
arithmetic): its layers are looked at and one empty frame is sent through, so any name timm knows is
accepted if it fits.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import timm
import torch
from torch import Tensor, nn

from fedsurg.errors import NetworkError

STRIDES = (4, 8, 16, 32)  # of the pyramid, in input pixels
QUERY_NAMES = frozenset({"q", "q_proj", "query", "to_query"})
FUSED_NAMES = frozenset({"qkv", "qkv_proj", "to_qkv"})
# timm families that fit -> the member that is built to make sure that the installed timm still has it so
FAMILIES = {
    "pvt_v2_*": "pvt_v2_b0",
    "twins_pcpvt_*": "twins_pcpvt_small",
    "nextvit_*": "nextvit_small",
    "swiftformer_*": "swiftformer_xs",
    "iformer_*": "iformer_t",
    "mobilenetv4_hybrid_*": "mobilenetv4_hybrid_medium",
}
_PROBE = (64, 96)  # height, width of the empty frame: not square, not the size the backbone was trained at


@dataclass(frozen=True)
class Pyramid:
    """How to read a backbone: which of its outputs to take, and their channels, stride 4 first."""

    indices: tuple[int, ...]
    channels: tuple[int, ...]


@cache
def pyramid_of(name: str) -> Pyramid:
    """Check that the timm backbone `name` fits.

    Raises:
        NetworkError: it does not, or timm has none of that name; the message says why and lists those that
        do.
    """
    try:
        return _inspect(name)
    except NetworkError as problem:
        raise NetworkError(f"{problem}; encoders that work: {', '.join(supported_encoders())}") from problem


@cache
def supported_encoders() -> tuple[str, ...]:
    """Names in timm with a separate query projection and a feature pyramid, smallest family first."""
    return tuple(name for pattern, member in FAMILIES.items() if _fits(member) for name in timm.list_models(pattern))


def attention_blocks(body: nn.Module) -> dict[str, nn.Module]:
    """Path -> module of every attention block with a query projection of its own, in order."""
    paths = [path.rpartition(".") for path, _ in body.named_modules()]
    return {parent: body.get_submodule(parent) for parent, _, leaf in paths if leaf in QUERY_NAMES}


def build_backbone(name: str, indices: tuple[int, ...] | None = None) -> nn.Module:
    """The feature extractor that timm has for `name`, with random weights.

    Raises:
        NetworkError: timm has no such model, or no feature extractor for it.
    """
    if not timm.is_model(name):
        raise NetworkError(f"network.encoder: timm has no model {name!r}")
    choice: dict[str, Any] = {} if indices is None else {"out_indices": indices}
    try:
        body: nn.Module = timm.create_model(name, pretrained=False, features_only=True, **choice)
    except (RuntimeError, AttributeError, AssertionError, TypeError, ValueError) as problem:
        raise NetworkError(f"network.encoder: {name} has no feature pyramid in timm ({problem})") from problem
    return body


def _inspect(name: str) -> Pyramid:
    with torch.device("meta"):
        body = build_backbone(name)
    reductions: list[int] = body.feature_info.reduction()  # type: ignore[union-attr, operator]
    if not set(STRIDES) <= set(reductions):
        raise NetworkError(f"network.encoder: {name} has features at strides {reductions}, {list(STRIDES)} are needed")
    if not attention_blocks(body):
        raise NetworkError(f"network.encoder: {name} has no query projection of its own, which FedST keeps at a site")
    fused = [path for path, _ in body.named_modules() if path.rpartition(".")[2] in FUSED_NAMES]
    if fused:
        raise NetworkError(f"network.encoder: {name} fuses query, key and value in {len(fused)} blocks ({fused[0]})")
    indices = tuple(reductions.index(stride) for stride in STRIDES)
    return Pyramid(indices, tuple(maps.shape[1] for maps in _probe(name, body, indices)))


def _probe(name: str, body: nn.Module, indices: tuple[int, ...]) -> list[Tensor]:
    """Shapes of the pyramid for a frame of `_PROBE` pixels, on the meta device."""
    try:
        maps: list[Tensor] = body(torch.empty(1, 3, *_PROBE, device="meta"))
    except (RuntimeError, AssertionError, ValueError) as problem:
        raise NetworkError(f"network.encoder: {name} does not take frames of any size ({problem})") from problem
    chosen = [maps[index] for index in indices]
    found = [tuple(one.shape[2:]) for one in chosen]
    if found != [(_PROBE[0] // stride, _PROBE[1] // stride) for stride in STRIDES]:
        raise NetworkError(f"network.encoder: {name} gives maps of {found} for a frame of {_PROBE}")
    return chosen


def _fits(name: str) -> bool:
    try:
        _inspect(name)
    except NetworkError:
        return False
    return True

"""Which part of the network a parameter belongs to, and the name it carries on the wire.

Modules mark themselves; a parameter belongs to the nearest marked module above it. Scopes (`shared`, `site`,
`frozen`) are given per part, so nothing else in the code has to look at a parameter's name.
"""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedsurg.errors import NetworkError
from fedsurg.study.config import Part

ADAPTER = "site"  # name of the peft adapter; it appears in peft's parameter names only
_MARK = "fedsurg_part"
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _BatchNorm)  # and what derives from them, as timm's do


def mark(module: nn.Module, part: Part) -> None:
    """Say that the parameters of `module` belong to `part`, except below a module with a mark of its own."""
    setattr(module, _MARK, part)


def canonical_name(name: str) -> str:
    """The parameter's name without what peft adds: the same with and without adapters.

    `kv.base_layer.weight` -> `kv.weight`; `kv.lora_A.site.weight` -> `kv.lora_A.weight`.
    """
    pieces = name.split(".")
    kept = [
        piece
        for before, piece in zip(["", *pieces], pieces, strict=False)
        if piece != "base_layer" and not (piece == ADAPTER and before.startswith("lora_"))
    ]
    return ".".join(kept)


def named_parts(network: nn.Module) -> Iterator[tuple[str, nn.Parameter, Part]]:
    """Canonical name, parameter and part, in the order of definition.

    Raises:
        NetworkError: a parameter lies under no marked module; whoever added the module forgot `mark`.
    """
    for name, parameter, part in _walk(network, "", None):
        if part is None:
            raise NetworkError(f"parameter {name!r} belongs to no part: mark its module with fedsurg.models.parts.mark")
        yield canonical_name(name), parameter, part


def normalisation(network: nn.Module) -> frozenset[str]:
    """Canonical names of the weights and biases of all normalisation layers, whatever part they belong to."""
    layers = [(path, module) for path, module in network.named_modules() if isinstance(module, _NORMS)]
    return frozenset(
        canonical_name(f"{path}.{name}") for path, layer in layers for name, _ in layer.named_parameters(recurse=False)
    )


def _walk(module: nn.Module, prefix: str, inherited: Part | None) -> Iterator[tuple[str, nn.Parameter, Part | None]]:
    part: Part | None = module.__dict__.get(_MARK, inherited)
    for name, parameter in module.named_parameters(prefix, recurse=False):
        yield name, parameter, part
    for name, child in module.named_children():
        yield from _walk(child, f"{prefix}.{name}" if prefix else name, part)

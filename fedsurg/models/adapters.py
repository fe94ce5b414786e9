"""Site adapters: low-rank updates (LoRA) of the encoder's attention, kept at the site."""

from torch import nn

from fedsurg.errors import NetworkError
from fedsurg.models.backbones import attention_blocks
from fedsurg.models.parts import ADAPTER, mark
from fedsurg.study.config import AdaptersConfig

# what backbones call the two targets of `network.adapters.targets`
_NAMES = {
    "kv": frozenset({"kv", "k", "v", "k_proj", "v_proj", "key", "value", "to_key", "to_value"}),
    "proj": frozenset({"proj", "out_proj", "output"}),
}


def add_adapters(body: nn.Module, config: AdaptersConfig) -> None:
    """Inject LoRA beside the attention projections of `body`, in place.

    B starts at zero, so nothing changes until a site trains. The weights beside an adapter stay trainable:
    they are shared, while A and B are the site's.

    Raises:
        NetworkError: the backbone has no projection of a kind that `config.targets` asks for.
    """
    from peft import (
        LoraConfig,
        inject_adapter_in_model,
    )  # slow to import, and only networks with adapters need it

    trainable = [parameter for parameter in body.parameters() if parameter.requires_grad]
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # peft divides by the rank, a float is fine
        lora_dropout=0.0,
        target_modules=_targets(body, config),
    )
    inject_adapter_in_model(lora, body, ADAPTER)
    for parameter in trainable:
        parameter.requires_grad_(True)  # peft freezes everything but A and B
    for name, module in body.named_modules():
        if name.rpartition(".")[2] in ("lora_A", "lora_B"):
            mark(module, "adapters")


def _targets(body: nn.Module, config: AdaptersConfig) -> list[str]:
    """Paths of the layers to adapt: within attention only, for a patch embedding has a `proj` too."""
    paths: list[str] = []
    for target in config.targets:
        found = [
            path
            for block, attention in attention_blocks(body).items()
            for child, module in attention.named_children()
            if child in _NAMES[target]
            for path in _layers(f"{block}.{child}", module)
        ]
        if not found:
            raise NetworkError(f"network.adapters.targets: this encoder's attention has no {target!r} projection")
        paths += found
    return paths


def _layers(path: str, module: nn.Module) -> list[str]:
    """The linear layers and dense convolutions of a projection: itself, or inside (with a norm beside it)."""
    return [
        f"{path}.{inner}" if inner else path
        for inner, layer in module.named_modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    ]

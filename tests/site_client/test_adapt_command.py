"""`fedsurg site adapt`, as a hospital types it: what it says, what it writes, and what it refuses in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsurg.learning import evaluate
from fedsurg.learning.decision import Decision
from fedsurg.study.digest import study_digest
from fedsurg.study_file.load import load_study
from fedsurg.tensor_file import read_tensors, write_tensors

Fedsurg = Callable[..., tuple[int, str, str]]
SETTINGS = "\n[adaptation]\nsteps = 4\ncheck_every = 2\nlearning_rate = 1e-2\n"


@pytest.fixture
def words(tiny_text: str, start: Path, data: Path, tmp_path: Path) -> list[object]:
    """The command for `north` as the hospital that took no part, with the start as the shared model."""
    study, model = tmp_path / "study.toml", tmp_path / "global.safetensors"
    study.write_text(tiny_text.replace('["fedst"]', '["fedavg", "fedst"]') + SETTINGS)
    write_tensors(model, read_tensors(start)[0], {"study": study_digest(load_study(study))[:48] + "-fedst"})
    return ["site", "adapt", study, model, "--data", data / "north", "--out", tmp_path / "model", "--device", "cpu"]


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
    assert f"digest `{read_tensors(Path(str(words[3])))[1]['study']}`" in card


def test_cases_are_scored_on_the_views_that_the_study_asks_for(
    words: list[object],
    scripted: Callable[..., None],
    fedsurg: Fedsurg,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    study, seen, plain = Path(str(words[2])), [], evaluate.predictions
    study.write_text(study.read_text() + "\n[evaluation]\nscales = [1.0, 1.5]\nmirrored = true\ndecision = 'overlap'\n")

    def spied(network: Any, datasets: Any, *args: Any, **named: Any) -> Any:
        seen.append(([one.size for one in datasets], named["mirrored"], named["decision"]))
        return plain(network, datasets, *args, **named)

    monkeypatch.setattr(evaluate, "predictions", spied)
    scripted(0.1, 0.3, 0.5, 0.5, 0.2, 0.4, 0.2, 0.2, 0.6, 0.6)
    assert fedsurg(*words)[0] == 0
    (height, width) = load_study(study).task.image_size
    assert seen == [([(height, width), (height * 3 // 2, width * 3 // 2)], True, Decision(overlap=True))] * 2
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"on the frame, and its mirror image, at {height} x {width} and {height * 3 // 2} x {width * 3 // 2}" in card
    assert "those of `fedsurg.learning.decision.Decision(overlap=True, sureness=0.0)`" in card


def test_a_magnified_model_says_so(
    words: list[object],
    scripted: Callable[..., None],
    fedsurg: Fedsurg,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Frames of twice the size are better from the first step on: file, card and the scores afterwards are of them."""
    study, seen, plain = Path(str(words[2])), [], evaluate.predictions
    text = study.read_text().replace('["fedavg", "fedst"]', '["fedst-own"]')
    study.write_text(text + "\n[local.magnification]\napparent_width = 1.0\n")

    def spied(network: Any, datasets: Any, *args: Any, **named: Any) -> Any:
        seen.append([one.size for one in datasets])
        return plain(network, datasets, *args, **named)

    monkeypatch.setattr(evaluate, "predictions", spied)
    scripted(0.2, 0.2, 0.3, 0.3, 0.1, 0.1, 0.6, 0.6, 0.5, 0.5, 0.4, 0.4, 0.2, 0.2, 0.6, 0.6)
    code, out, _ = fedsurg(*words)
    assert code == 0
    assert "fitted: 0 steps on frames magnified 2 times; left-out cases rose from IoU 0.200 to 0.600" in out
    height, width = load_study(study).task.image_size
    assert seen == [[(height, width)], [(height, width), (2 * height, 2 * width)]]
    assert read_tensors(tmp_path / "model" / "model.safetensors")[1]["magnification"] == 2.0
    card = (tmp_path / "model" / "README.md").read_text()
    assert "frames are also shown 2 times as large" in card
    assert f"on the frame at {height} x {width} and {2 * height} x {2 * width} pixels" in card


def test_a_kept_model_leaves_nothing(
    words: list[object], scripted: Callable[..., None], fedsurg: Fedsurg, tmp_path: Path
) -> None:
    scripted(0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
    code, out, err = fedsurg(*words)
    assert (code, err) == (0, "")
    assert "the shared model is kept: no number of steps was better on left-out cases" in out
    assert f"use {words[3]} as it is" in out
    assert not (tmp_path / "model").exists()


def test_what_does_not_fit_is_one_line(words: list[object], fedsurg: Fedsurg, start: Path, tmp_path: Path) -> None:
    other, cut = tmp_path / "other.safetensors", tmp_path / "cut.safetensors"
    write_tensors(other, {"x": torch.zeros(1)}, {})
    cut.write_bytes(start.read_bytes()[:1000])
    ruined = tmp_path / "ruined.safetensors"
    write_tensors(ruined, {name: value * torch.nan for name, value in read_tensors(start)[0].items()}, {})
    for model, code, message in (
        (other, 1, f"{other}: is not a shared model of {words[2]}: tensor 'x': this network has none of that name"),
        (cut, 1, f"{cut}: cannot be read"),
        (ruined, 1, "is not of finite numbers; get the file anew"),
        (tmp_path / "none", 1, "none: no such file"),
    ):
        found, _, err = fedsurg(*words[:3], model, *words[4:])
        assert (found, len(err.splitlines())) == (code, 1)
        assert message in err
    for more, code, message in (
        (["--out", other / "model"], 1, f"cannot be written, as {other} cannot"),
        (["--method", "local"], 2, f"--method 'local' is not in {words[2]}; it has fedavg, fedst"),
        (["--method", "fedavg"], 1, "none of fedavg shares one part of the network and keeps another at a site"),
        (["--data", tmp_path / "nowhere"], 3, "nowhere"),
    ):
        found, _, err = fedsurg(*words, *more)
        assert (found, len(err.splitlines())) == (code, 1)
        assert message in err
    assert not (tmp_path / "model").exists()


def test_a_study_needs_neither_its_start_nor_its_pictures_here(
    words: list[object], scripted: Callable[..., None], fedsurg: Fedsurg, tmp_path: Path
) -> None:
    scripted(*[0.5] * 6)
    study = Path(str(words[2]))
    text = study.read_text().replace("[synthetic]", '[synthetic]\nbackgrounds = "pictures"')
    study.write_text(text.replace("[server.pretrain]", '[server.pretrain]\nstart = "gone.safetensors"'))
    assert fedsurg(*words)[0] == 0


def test_a_model_of_another_study_is_told(
    words: list[object], scripted: Callable[..., None], fedsurg: Fedsurg, start: Path
) -> None:
    scripted(*[0.5] * 6)
    code, _, err = fedsurg(*words[:3], start, *words[4:])
    assert (code, err) == (0, f"note: {start} was not made by {words[2]} as it is, though the network fits\n")


def test_a_method_that_keeps_norms_has_a_private_part(
    words: list[object], scripted: Callable[..., None], fedsurg: Fedsurg
) -> None:
    scripted(*[0.5] * 6)
    study = Path(str(words[2]))
    study.write_text(study.read_text().replace('["fedavg", "fedst"]', '["fedbn"]'))
    code, out, _ = fedsurg(*words)
    assert (code, out.splitlines()[0]) == (
        0,
        "north: fedbn learns from PATIENT-north-0, PATIENT-north-1, in 4 steps at most",
    )


def test_one_case_is_too_few(words: list[object], fedsurg: Fedsurg, data: Path) -> None:
    code, _, err = fedsurg(*words, "--data", data / "east")
    assert code == 3
    assert "site 'east' has 1 cases in split 'train', adaptation needs 2" in err


def test_a_model_is_not_written_over(words: list[object], fedsurg: Fedsurg, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name in ("model.safetensors", "README.md"):
        (tmp_path / "model" / name).write_bytes(b"mine")
        code, _, err = fedsurg(*words)
        assert code == 1
        assert f"{name}: exists; choose another --out" in err
        assert [path.read_bytes() for path in (tmp_path / "model").iterdir()] == [b"mine"]
        (tmp_path / "model" / name).unlink()
    (tmp_path / "file").write_bytes(b"mine")
    code, out, err = fedsurg(*words, "--out", tmp_path / "file")
    assert (code, out) == (1, "")
    assert f"{tmp_path / 'file'}: is no folder; choose another --out" in err

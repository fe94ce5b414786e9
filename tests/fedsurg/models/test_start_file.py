"""The start file: which studies may begin from it, and what is said to the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsurg.errors import NetworkError, StudyError
from fedsurg.models.network import network_of
from fedsurg.models.start_file import read_start, write_start
from fedsurg.study import Study, study_digest
from fedsurg.study import start as study_start
from fedsurg.study.start import SHIPPED
from fedsurg.study_file.load import changed
from fedsurg.tensor_file import read_tensors, write_tensors

MakeStudy = Callable[..., Study]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def file(tmp_path: Path, tiny_study: MakeStudy) -> Path:
    """A start of the tiny study's network with random weights."""
    path = tmp_path / "own.safetensors"
    write_start(path, tiny_study(), weights(tiny_study()), {"seed": 3})
    return path


@pytest.fixture
def begun(file: Path, tiny_study: MakeStudy) -> Callable[..., Study]:
    """The tiny study, begun from that file."""
    return lambda **options: tiny_study(**{"server__pretrain__start": str(file)} | options)


def weights(study: Study) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in network_of(study).tensors().items()}


def test_float16_weights_come_back_as_float32(begun: MakeStudy, file: Path) -> None:
    expected = weights(begun())
    read = read_start(begun())
    assert read.keys() == expected.keys()
    assert all(value.dtype == torch.float32 for value in read.values())
    assert all(torch.equal(value, expected[name].half().float()) for name, value in read.items())
    tensors, facts = read_tensors(file)
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    assert facts["classes"] == ["background", "shaft", "wrist", "clasper"]
    assert facts["image_size"] == [64, 64]
    assert facts["network"]["temporal.frames"] == 1
    assert facts["training"] == {"seed": 3}


def test_the_same_weights_give_the_same_bytes(file: Path, tmp_path: Path, tiny_study: MakeStudy) -> None:
    write_start(tmp_path / "again", tiny_study(), weights(tiny_study()), {"seed": 3})
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_the_digest_of_a_study_holds_the_files_bytes_and_not_its_place(begun: MakeStudy, file: Path) -> None:
    study = begun()
    moved = file.rename(file.with_name("moved.safetensors"))
    digest = study_digest(begun(server__pretrain__start=str(moved)))
    assert digest == study_digest(study)
    assert len(study.server.pretrain.start_sha256) == 64
    moved.write_bytes(moved.read_bytes() + b"\0")
    assert study_digest(begun(server__pretrain__start=str(moved))) != digest


def test_a_changed_study_looks_at_another_file_only(begun: MakeStudy, file: Path, tmp_path: Path) -> None:
    study = begun()
    other = tmp_path / "other.safetensors"
    other.write_bytes(file.read_bytes() + b"\0")
    file.unlink()
    assert changed(study, {"seed": 9}).server == study.server
    begun_from_other = changed(study, {"server.pretrain.start": str(other)})
    assert begun_from_other.server.pretrain.start_sha256 not in ("", study.server.pretrain.start_sha256)
    assert changed(study, {"server.pretrain.start": ""}).server.pretrain.start_sha256 == ""
    with pytest.raises(StudyError, match=r"study 'tiny': server\.pretrain\.start: .*none: No such file"):
        changed(study, {"server.pretrain.start": str(tmp_path / "none")})


def test_a_study_that_asks_for_one_file(begun: MakeStudy) -> None:
    right = begun().server.pretrain.start_sha256
    assert begun(server__pretrain__start_sha256=right) == begun()
    with pytest.raises(
        StudyError, match=r"tiny\.toml: server\.pretrain\.start: .* has the SHA-256 .*, start_sha256 asks"
    ):
        begun(server__pretrain__start_sha256="0" * 64)


def test_a_digest_without_a_file(tiny_study: MakeStudy) -> None:
    with pytest.raises(
        StudyError, match=r"server\.pretrain\.start_sha256: is set, but server\.pretrain\.start is empty"
    ):
        tiny_study(server__pretrain__start_sha256="0" * 64)


def test_a_missing_file(tiny_study: MakeStudy, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"server\.pretrain\.start: .*none: No such file or directory; .* make one"):
        tiny_study(server__pretrain__start=str(tmp_path / "none"))


def test_a_package_without_a_start(tiny_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_start, "SHIPPED", tmp_path / "start.safetensors")
    with pytest.raises(StudyError, match=r"this installation ships no start; .* make one with fedsurg pretrain"):
        tiny_study(server__pretrain__start="shipped")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"task__classes": ["background", "instrument"]},
            r"tells the classes \['background', 'shaft', 'wrist', 'clasper'\] apart, task\.classes is \['back",
        ),
        ({"network__encoder": "pvt_v2_b1"}, "network.encoder is 'pvt_v2_b1' here and 'pvt_v2_b0' there; use that"),
        ({"network__pyramid_channels": 64}, "network.pyramid_channels is 64 here and 32 there"),
        ({"network__temporal__frames": 2}, "network.temporal.frames is 2 here and 1 there"),
        ({"network__temporal__heads": 2}, "network.temporal.heads is 2 here and 4 there"),
    ],
)
def test_a_start_of_another_network(begun: MakeStudy, options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        read_start(begun(**options))


@pytest.mark.parametrize(
    "options", [{"task__image_size": [96, 64]}, {"seed": 9}, {"network__temporal__pooling": [8]}], ids=str
)
def test_what_may_differ(begun: MakeStudy, options: dict[str, Any]) -> None:
    assert read_start(begun(**options)).keys() == weights(begun()).keys()


def test_the_temporal_layer_is_dropped_where_the_study_has_none(begun: MakeStudy) -> None:
    study = begun(network__temporal__enabled=False)
    read = read_start(study)
    assert read.keys() == weights(study).keys()
    assert read.keys() < weights(begun()).keys()


def test_a_start_without_a_temporal_layer(begun: MakeStudy, file: Path, tiny_study: MakeStudy) -> None:
    without = tiny_study(network__temporal__enabled=False)
    write_start(file, without, weights(without), {})
    with pytest.raises(
        NetworkError, match=r"has no temporal layer; set network\.temporal\.enabled = false, or make one"
    ):
        read_start(begun())


def test_files_that_are_no_start(begun: MakeStudy, file: Path) -> None:
    file.write_bytes(b"weights")
    with pytest.raises(NetworkError, match=r"own\.safetensors is no safetensors file; make one"):
        read_start(begun())
    write_tensors(file, {"a": torch.zeros(1)}, {})
    with pytest.raises(NetworkError, match="is no start of this version of fedsurg"):
        read_start(begun())


@pytest.mark.parametrize("value", [torch.full((4,), torch.nan), torch.zeros(4, dtype=torch.int64)], ids=["nan", "int"])
def test_a_damaged_tensor(begun: MakeStudy, file: Path, value: torch.Tensor) -> None:
    tensors, facts = read_tensors(file)
    write_tensors(file, tensors | {"head.bias": value}, facts)
    with pytest.raises(
        NetworkError, match=r"is damaged: tensor 'head\.bias' holds a value that is no number; make one"
    ):
        read_start(begun())


@pytest.mark.parametrize("facts", [{"network": None}, {"parts": [1]}], ids=str)
def test_facts_of_another_shape(begun: MakeStudy, file: Path, facts: dict[str, Any]) -> None:
    tensors, known = read_tensors(file)
    write_tensors(file, tensors, known | facts)
    with pytest.raises(NetworkError, match=r"says of itself what no start does; make one"):
        read_start(begun())


def test_a_tensor_is_missing(begun: MakeStudy, file: Path) -> None:
    tensors, facts = read_tensors(file)
    del tensors["head.bias"]
    write_tensors(file, tensors, facts)
    with pytest.raises(
        NetworkError, match=r"does not fit the study's network: 1 of \d+ tensors are missing.*head\.bias"
    ):
        read_start(begun())


def test_a_file_that_changes_under_the_study(begun: MakeStudy, file: Path) -> None:
    study = begun()
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(NetworkError, match="was changed after the study was read; run the command again"):
        read_start(study)


def test_weights_that_float16_cannot_hold(tiny_study: MakeStudy, tmp_path: Path) -> None:
    tensors = weights(tiny_study())
    tensors["head.bias"] = torch.full_like(tensors["head.bias"], 1e6)
    with pytest.raises(NetworkError, match=r"tensor 'head\.bias': holds a value that float16 cannot"):
        write_start(tmp_path / "file", tiny_study(), tensors, {})
    assert not (tmp_path / "file").exists()


def test_an_encoder_with_batch_statistics(tiny_study: MakeStudy, tmp_path: Path) -> None:
    study = tiny_study(network__encoder="swiftformer_xs")
    with pytest.raises(NetworkError, match=r"network\.encoder: swiftformer_xs keeps batch statistics"):
        write_start(tmp_path / "file", study, {}, {})


@pytest.mark.skipif(not SHIPPED.exists(), reason="this checkout ships no start")
def test_the_shipped_start(tiny_study: MakeStudy) -> None:
    from fedsurg.study_file import load_study

    assert SHIPPED.stat().st_size <= 12_000_000  # a package is downloaded by everyone
    assert SHIPPED.with_suffix(".md").read_text(encoding="utf-8").startswith("# ")
    study = load_study(ROOT / "studies" / "start.toml", overrides={"server.pretrain.start": "shipped"})
    assert read_start(study).keys() == weights(study).keys()
    card = SHIPPED.with_suffix(".md").read_text(encoding="utf-8")
    assert study.server.pretrain.start_sha256 in card

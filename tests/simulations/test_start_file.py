"""`fedsurg pretrain`: the start as a file with a card, the same each time; its transfer to real sites."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from fedsurg.data.clips import ClipDataset
from fedsurg.data.labels import IGNORE, LabelSpace
from fedsurg.data.site import load_site, with_whole_instruments
from fedsurg.errors import DataError, NetworkError, RunError, StudyError
from fedsurg.learning import pretrain
from fedsurg.learning.decision import predicted_labels
from fedsurg.models.network import network_of
from fedsurg.models.start_file import read_start, start_facts
from fedsurg.study import Study
from fedsurg.study.start import SHIPPED
from fedsurg.study_file.load import load_study
from fedsurg.tensor_file import read_tensors, write_tensors
from simulations.preparation import start_of
from simulations.start_file import model_card, training_facts
from simulations.transfer import all_cases, transfer

MakeStudy = Callable[..., Study]
Command = Callable[..., tuple[int, str]]
Fedsurg = Callable[..., tuple[int, str, str]]


def quiet(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


@pytest.fixture
def command(tmp_path: Path, tiny_text: str, cache: Path, fedsurg: Fedsurg) -> Command:
    """Run `fedsurg pretrain` on the tiny study; exit code, and what it wrote on either stream."""
    (tmp_path / "tiny.toml").write_text(tiny_text)

    def run(*words: object, into: Path = cache) -> tuple[int, str]:
        fixed = ["pretrain", tmp_path / "tiny.toml", "--device", "cpu", "--cache", into]
        code, out, err = fedsurg(*fixed, *words)
        return code, out + err

    return run


def test_a_start_for_other_studies(
    command: Command, start: Path, data: Path, tmp_path: Path, tiny_study: MakeStudy
) -> None:
    out = tmp_path / "made" / "start.safetensors"
    code, said = command("--out", out, "--data", data, "--set", "evaluation.mirrored=true")
    assert code == 0, said
    study = tiny_study(server__pretrain__start=str(out))
    digest = study.server.pretrain.start_sha256
    assert f"{out}: {out.stat().st_size / 1e6:.2f} MB, SHA-256 {digest}" in said
    trained = read_tensors(start)[0]
    assert all(torch.equal(value, trained[name].half().float()) for name, value in read_start(study).items())
    facts = read_tensors(out)[1]["training"]
    assert (facts["seed"], facts["pretrain"]["steps"], facts["synthetic"]["clips"]) == (3, 2, 8)
    assert str(tmp_path) not in str(facts)
    card = out.with_suffix(".md").read_text()
    for text in (
        digest,
        "pretrain tiny.toml --set evaluation.mirrored=true --out start.safetensors",
        "Use the mean of the network's probabilities on the frame, and its mirror image, at ",
        "Apache-2.0",
        "| north |",
        "| mean |",
        "8 clips",
        "It has never seen a real frame.",
    ):
        assert text in card
    assert str(tmp_path) not in card


def test_encoder_weights_of_others_are_told_by_what_is_in_them(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = '"encoder.safetensors"'
    made = []
    for seed in (1, 2):  # another file of the same name is another start
        _encoder(seed, tmp_path / "encoder.safetensors")
        out = tmp_path / f"{seed}.safetensors"
        code, said = command("--out", out, "--set", f"network.encoder_weights={given}")
        assert code == 0, said
        made.append(out.read_bytes())
    assert made[0] != made[1]
    card = out.with_suffix(".md").read_text()
    digest = sha256((tmp_path / "encoder.safetensors").read_bytes()).hexdigest()
    assert f"The encoder began at weights of others (`network.encoder_weights`, SHA-256 `{digest}`)" in card
    assert "| licence | Apache-2.0, and that of the encoder weights |" in card
    assert "| trained from | encoder weights of others |" in card
    assert read_tensors(out)[1]["training"]["encoder_weights"] == digest
    for false in ("No weights of others", "simulated surgical video alone", "never seen a real frame", "encoder.safe"):
        assert false not in card


def _encoder(seed: int, file: Path) -> None:
    torch.manual_seed(seed)
    save_file(timm.create_model("pvt_v2_b0", num_classes=0).state_dict(), file)


def test_the_same_command_gives_the_same_bytes(command: Command, cache: Path, synthetic: Path, tmp_path: Path) -> None:
    """Trained anew, not taken from the cache."""
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "synthetic").symlink_to(synthetic.parent)
        assert command("--out", tmp_path / f"{name}.safetensors", into=tmp_path / name)[0] == 0
        files.append((tmp_path / f"{name}.safetensors").read_bytes())
    assert files[0] == files[1]


def test_another_setting_is_another_start(command: Command, tmp_path: Path) -> None:
    code, _ = command(
        "--out", tmp_path / "none.safetensors", "--card", tmp_path / "card", "--set", "server.pretrain.steps=1"
    )
    assert code == 0
    assert not (tmp_path / "none.md").exists()
    card = (tmp_path / "card").read_text()
    assert "--set server.pretrain.steps=1" in card
    assert "1 steps" in card
    assert "Not measured for this file" in card


def test_stopped_it_goes_on(command: Command, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "synthetic").symlink_to(synthetic.parent)
    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "train", _stopped)
        code, said = command("--out", tmp_path / "a.safetensors", into=tmp_path / "cache")
    assert (code, said.splitlines()[-1]) == (
        130,
        "fedsurg: stopped; what is finished is kept, give the same command to go on",
    )
    assert not (tmp_path / "a.safetensors").exists()


def test_a_start_is_trained_further(command: Command, tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    assert command("--out", first)[0] == 0
    words = ("--set", f'server.pretrain.start="{first}"', "--set", "server.pretrain.further_steps=1")
    code, said = command("--out", second, *words)
    assert code == 0, said
    facts, before = (read_tensors(file)[1]["training"] for file in (second, first))
    assert facts["from"] == before
    assert before["from"] is None
    digest = sha256(first.read_bytes()).hexdigest()
    assert facts["pretrain"]["start_sha256"] == digest
    card = second.with_suffix(".md").read_text()
    for text in (
        f"| trained from | the start with SHA-256 `{digest}`, steps before: {before['pretrain']['steps']} |",
        f"It began at another start (SHA-256 `{digest}`)",
        "1 steps of batch",
        "Apache-2.0, and that of the weights |",
    ):
        assert text in card
    for false in (
        "No weights of others",
        "No frame of a patient",
        "simulated surgical video alone",
        "never seen a real frame",
        str(tmp_path),
    ):
        assert false not in card
    assert "| trained from | random weights |" in first.with_suffix(".md").read_text()
    for words_out in (("--out", first), ("--out", tmp_path / "other", "--card", first)):
        code, said = command(*words_out, *words)
        assert code == RunError.exit_code
        assert f"{first}: is the start that is trained further, and would be replaced" in said
    assert sha256(first.read_bytes()).hexdigest() == digest


def test_a_start_file_that_says_nothing_of_its_training(
    command: Command, tmp_path: Path, tiny_study: MakeStudy, start: Path
) -> None:
    tensors, facts = read_tensors(start)[0], start_facts(tiny_study(), network_of(tiny_study()))
    write_tensors(tmp_path / "bare", {name: value.half() for name, value in tensors.items()}, facts)
    words = ("--set", f'server.pretrain.start="{tmp_path / "bare"}"', "--set", "server.pretrain.further_steps=1")
    code, said = command("--out", tmp_path / "a.safetensors", *words)
    assert code == 0, said
    assert read_tensors(tmp_path / "a.safetensors")[1]["training"]["from"] is None


def test_a_file_that_is_no_start_is_told_before_anything_is_trained(command: Command, tmp_path: Path) -> None:
    words = ("--set", f'server.pretrain.start="{tmp_path / "tiny.toml"}"', "--set", "server.pretrain.further_steps=1")
    code, said = command("--out", tmp_path / "a.safetensors", *words, into=tmp_path / "cache")
    assert (code, "is no safetensors file" in said) == (NetworkError.exit_code, True), said
    assert not (tmp_path / "cache").exists()


def test_an_encoder_that_a_file_cannot_hold_is_told_before_anything_is_drawn(command: Command, tmp_path: Path) -> None:
    code, said = command("--out", tmp_path / "new.safetensors", "--set", 'network.encoder="swiftformer_xs"')
    assert code == 1 and "swiftformer_xs keeps batch statistics, which a start file does not hold" in said
    assert "synthetic video" not in said and [file.name for file in tmp_path.iterdir()] == ["tiny.toml"]


def test_the_shipped_start_trained_further_has_seen_no_real_frame(tiny_study: MakeStudy, tmp_path: Path) -> None:
    study = tiny_study(server__pretrain__start="shipped", server__pretrain__further_steps=5)
    (tmp_path / "file").write_bytes(b"")
    card = model_card(study, training_facts(study), tmp_path / "file", "digest", "command", torch.device("cpu"), None)
    digest = study.server.pretrain.start_sha256
    assert f"It began at the start that came with fedsurg then (SHA-256 `{digest}`)" in card
    by_path = tiny_study(server__pretrain__start=str(SHIPPED), server__pretrain__further_steps=5)
    assert (
        model_card(
            by_path, training_facts(by_path), tmp_path / "file", "digest", "command", torch.device("cpu"), None
        ).splitlines()[10:]
        == (card.splitlines()[10:])
    )
    assert "| training | 5 steps" in card
    assert f"| trained from | the start with SHA-256 `{digest}`, steps before: 8,000 + 4,000 + 3,200 |" in card
    assert f"where `server.pretrain.start` is the file with SHA-256 `{digest}`." in card
    assert "It has never seen a real frame." in card
    assert "| licence | Apache-2.0 |" in card


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("server.pretrain.steps=0", "tiny: server.pretrain.steps: this study trains no start"),
        (
            'server.pretrain.start="shipped"',
            "tiny: server.pretrain.further_steps: this study trains no start; set it above 0",
        ),
        (
            "server.pretrain.further_steps=1",
            "server.pretrain.further_steps: is set, but server.pretrain.start is empty",
        ),
    ],
)
def test_a_study_that_trains_no_start(command: Command, tmp_path: Path, setting: str, said: str) -> None:
    code, line = command("--out", tmp_path / "a.safetensors", "--set", setting)
    assert code == StudyError.exit_code
    assert said in line


def test_what_cannot_be_written_is_told_before_anything_is_trained(command: Command, tmp_path: Path) -> None:
    for words, text in (
        (("--out", tmp_path / "a.md"), "a.md: would hold both the start and its card"),
        (("--out", tmp_path), "is a folder; give the name of a file in it"),
        (("--out", "."), ".: is a folder; give the name of a file in it"),
        (("--out", tmp_path / "tiny.toml" / "a.safetensors"), f"cannot be written, as {tmp_path / 'tiny.toml'} cannot"),
        (("--out", tmp_path / "a.safetensors", "--data", tmp_path / "none"), "none: holds no site folder"),
    ):
        code, said = command(*words, into=tmp_path / "cache")
        assert code in (RunError.exit_code, DataError.exit_code)
        assert text in said
    assert not (tmp_path / "cache").exists()


def test_what_could_not_be_scored_or_kept_is_told_before_anything_is_trained(
    command: Command, data: Path, tmp_path: Path
) -> None:
    two, out = tmp_path / "two", tmp_path / "new.safetensors"
    for name in ("north", "copy"):
        shutil.copytree(data / "north", two / name)
    code, said = command("--out", out, "--data", two)
    assert code and "name 'north' is that of another site there" in said
    shutil.rmtree(two / "copy")
    for line in (two / "north" / "manifest.csv").read_text().splitlines():
        if ",val," in line:
            (two / "north" / line.split(",")[0]).write_bytes(b"no picture")
    code, said = command("--out", out, "--data", two)
    assert code and "not an image" in said
    code, said = command("--out", tmp_path / "tiny.toml")
    assert code and "tiny.toml: is the study, and would be replaced" in said
    (tmp_path / "weights.pth").touch()
    code, said = command("--out", tmp_path / "weights.pth", "--set", f"network.encoder_weights={tmp_path}/weights.pth")
    assert code and "weights.pth" in said
    assert not out.exists() and not (tmp_path / "weights.pth").stat().st_size


def test_pictures_in_the_training_data_are_named_without_their_place(tiny_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "tissue").mkdir()
    Image.new("RGB", (32, 32), (150, 60, 50)).save(tmp_path / "tissue" / "a.png")
    study = tiny_study(synthetic__backgrounds=str(tmp_path / "tissue"))
    facts = training_facts(study)
    assert str(tmp_path) not in str(facts)
    assert len(facts["synthetic"]["backgrounds_sha256"]) == 64
    (tmp_path / "a.safetensors").write_bytes(b"")
    card = model_card(study, facts, tmp_path / "a.safetensors", "0" * 64, "", torch.device("cpu"), None)
    assert "photographs of tissue" in card
    assert "No frame of a patient" not in card
    assert str(tmp_path) not in card


def test_transfer_joins_parts_to_whole_instruments(
    tiny_study: MakeStudy, data: Path, start: Path, own_data: Path
) -> None:
    """A site that labels whole instruments and one that labels their parts get the same score for the same frames."""
    study, tensors = tiny_study(), read_tensors(start)[0]
    site = own_data / "east" / "site.toml"
    text = site.read_text()
    values = "shaft = 1\nwrist = 2\nclasper = 3\n"
    assert values in text
    site.write_text(text.replace(values, "instrument = [1, 2, 3]\n"))
    parts, whole = (transfer(study, tensors, folder, torch.device("cpu"), quiet) for folder in (data, own_data))
    assert list(whole["site"]) == ["east", "harbour", "north"]
    assert whole["iou"].tolist() == parts["iou"].tolist()
    assert whole["cases"].tolist() == [1, 1, 1]  # validation cases only
    assert whole["iou"].between(0, 1).all()


def test_transfer_to_all_cases(tiny_study: MakeStudy, data: Path, start: Path) -> None:
    """Two frames of each case, whatever its split; a case with fewer has all of its frames scored."""
    study, tensors = tiny_study(), read_tensors(start)[0]
    device = torch.device("cpu")
    for most in (2, 0):
        table = transfer(study, tensors, data, device, quiet, all_cases(most)).set_index("site")
        for name in table.index:
            frames = load_site(data / name, study.task).frames.groupby("case").size()
            assert table.loc[name, "cases"] == len(frames)
            assert table.loc[name, "frames"] == (frames.clip(upper=most) if most else frames).sum()
        assert table["cases"].min() > 1


def test_the_union_is_the_sum_of_its_parts() -> None:
    """No part is the most probable class, together they are: 0.4 against 0.3 + 0.2 + 0.1."""
    logits = torch.log(torch.tensor([0.4, 0.3, 0.2, 0.1])).reshape(1, 4, 1, 1)
    parts = LabelSpace(("background", "shaft", "wrist", "clasper"), ((0,), (1,), (2,), (3,)), (), 4)
    whole = LabelSpace(("background", "instrument"), ((0,), (1, 2, 3)), (), 4)
    assert predicted_labels(logits, parts).item() == 0
    assert predicted_labels(logits, whole).item() == 1


def test_whole_instruments_of_a_site(data: Path, tiny_study: MakeStudy) -> None:
    site = load_site(data / "north", tiny_study().task)
    site = replace(site, label_of_value=site.label_of_value | {9: IGNORE})
    whole = with_whole_instruments(site)
    assert whole.labels == LabelSpace(("background", "instrument"), ((0,), (1, 2, 3)), (), 4)
    assert whole.label_of_value == {0: 0, 1: 1, 2: 1, 3: 1, 9: IGNORE}
    size = tiny_study().task.image_size
    before, after = (ClipDataset(one, one.split("val"), size, 0)[0].label for one in (site, whole))
    assert before.max() > 1
    assert torch.equal(after, before.clamp(max=1))


def test_transfer_without_sites(
    command: Command, tiny_study: MakeStudy, start: Path, tmp_path: Path, own_data: Path
) -> None:
    study, tensors = tiny_study(), read_tensors(start)[0]
    with pytest.raises(DataError, match=r"holds no site folder \(site\.toml is in none\)"):
        transfer(study, tensors, tmp_path / "nowhere", torch.device("cpu"), quiet)
    manifest = own_data / "north" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",val", ",train"))
    with pytest.raises(DataError, match="north: has no frames in split 'val', on which a start is scored"):
        transfer(study, tensors, own_data, torch.device("cpu"), quiet)
    code, said = command("--out", tmp_path / "a.safetensors", "--data", own_data, into=tmp_path / "cache")
    assert (code, said.count("\n")) == (DataError.exit_code, 1)
    assert not (tmp_path / "cache").exists()  # told before anything is trained


def test_two_sites_of_one_name_are_not_taken_for_one(
    tiny_study: MakeStudy, start: Path, tmp_path: Path, own_data: Path
) -> None:
    site = own_data / "north" / "site.toml"
    site.write_text(site.read_text().replace('name = "north"', 'name = "east"'))
    with pytest.raises(DataError, match=r"north/site.toml: name 'east' is that of another site there"):
        transfer(tiny_study(), read_tensors(start)[0], own_data, torch.device("cpu"), quiet)


def test_the_study_of_the_shipped_start() -> None:
    study = load_study(Path(__file__).parents[2] / "studies" / "start.toml")
    assert study.task.classes == ("background", "shaft", "wrist", "clasper")
    assert study.task.image_size == (128, 160)
    assert study.server.pretrain.steps


def test_it_needs_no_video_when_the_start_is_there(tiny_study: MakeStudy, start: Path, cache: Path) -> None:
    assert start_of(tiny_study(), cache, "cpu", quiet) == start


def _stopped(*_arguments: object, **_options: object) -> None:
    raise KeyboardInterrupt

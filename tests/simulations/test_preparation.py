"""What a run needs is checked before anything is drawn or trained."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fedsurg.errors import DataError, FedsurgError, NetworkError, StudyError
from fedsurg.models.start_file import write_start
from fedsurg.simulator.of_study import site_request, synthetic_request
from fedsurg.study import Study
from fedsurg.tensor_file import read_tensors
from simulations.preparation import Prepared, prepare

MakeStudy = Callable[..., Study]


def quiet(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


@pytest.fixture
def prepared(tiny_study: MakeStudy, tmp_path: Path) -> Callable[..., Prepared]:
    """Prepare with an empty cache: whatever is wrong has to be found before the simulator starts."""
    return lambda data, **options: prepare(tiny_study(**options), data, tmp_path / "cache", "cpu", quiet)


def move(folder: Path, old: str, new: str) -> None:
    path = folder / "manifest.csv"
    path.write_text(path.read_text().replace(f",{old},", f",{new},"))


def test_everything_in_place(tiny_study: MakeStudy, data: Path, cache: Path, start: Path, synthetic: Path) -> None:
    found = prepare(tiny_study(), data, cache, "cpu", quiet)
    assert found == Prepared(
        {name: data / name for name in ("north", "east", "harbour")}, ["north", "east", "harbour"], synthetic, start
    )


def test_no_data_folder(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="site 'north' has its own data; say where it lies with --data DIR"):
        prepared(None)
    with pytest.raises(DataError, match=r"north: no such folder; give the folder that holds site\.toml"):
        prepared(tmp_path / "nowhere")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("site", "old", "new", "message"),
    [
        (
            "north",
            "val",
            "train",
            "site 'north' has no cases in split 'val'; move a case to val in its manifest, or set",
        ),
        ("east", "train", "val", "site 'east' has no cases in split 'train'; move a case to train"),
        ("harbour", "val", "train", "site 'harbour' has no cases in split 'test' or 'val' to be scored on"),
    ],
)
def test_an_empty_split(
    prepared: Callable[..., Prepared], own_data: Path, tmp_path: Path, site: str, old: str, new: str, message: str
) -> None:
    move(own_data / site, old, new)
    with pytest.raises(DataError, match=message):
        prepared(own_data)
    assert not (tmp_path / "cache").exists()


def test_an_unseen_site_that_is_scored_on_all_its_cases_needs_no_split(
    tiny_study: MakeStudy, own_data: Path, cache: Path, start: Path, synthetic: Path
) -> None:
    move(own_data / "harbour", "val", "train")
    found = prepare(tiny_study(evaluation__unseen_cases="all"), own_data, cache, "cpu", quiet)
    assert (found.start, found.synthetic) == (start, synthetic)


def test_more_folds_than_cases(prepared: Callable[..., Prepared], data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="site 'north': 4 folds need more cases than its 3"):
        prepared(data, evaluation__folds=4)
    assert not (tmp_path / "cache").exists()


def test_two_folders_of_one_name(prepared: Callable[..., Prepared], own_data: Path, tmp_path: Path) -> None:
    shutil.copyfile(own_data / "north" / "site.toml", own_data / "harbour" / "site.toml")
    with pytest.raises(
        DataError, match=r"harbour: its site\.toml has the name 'north', and so has .*north; give every"
    ):
        prepared(own_data)
    assert not (tmp_path / "cache").exists()


def test_the_best_round_is_not_chosen_on_the_cases_that_are_reported(
    prepared: Callable[..., Prepared], data: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"site 'north' has no cases in split 'test', and evaluation\.choose = 'best'"):
        prepared(data, evaluation__choose="best")
    assert not (tmp_path / "cache").exists()


def test_classes_that_do_not_match(prepared: Callable[..., Prepared], own_data: Path) -> None:
    with pytest.raises(DataError, match=r"site\.toml: mask_values\.shaft is no class of the study; allowed are"):
        prepared(own_data, task__classes=["background", "needle"], synthetic__whole_instruments=True)
    said = (
        r"^study 'tiny': synthetic: its masks hold background, shaft, wrist, clasper, and the classes of the study are"
    )
    with pytest.raises(StudyError, match=said):
        prepared(own_data, task__classes=["background", "needle"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network__encoder": "resnet18"}, "resnet18 has no query projection of its own"),
        ({"network__gate__text": "clip"}, r"network\.gate\.text_model: is empty"),
    ],
)
def test_a_network_that_cannot_be_built(
    prepared: Callable[..., Prepared], data: Path, tmp_path: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(NetworkError, match=message):
        prepared(data, **options)
    assert not (tmp_path / "cache").exists()


def test_text_vectors_are_needed_by_methods_with_a_gate_only(
    tiny_study: MakeStudy, data: Path, cache: Path, start: Path
) -> None:
    found = prepare(tiny_study(methods=["fedavg"], network__gate__text="clip"), data, cache, "cpu", quiet)
    assert (found.start, found.synthetic) == (start, None)


def test_nothing_is_drawn_that_nobody_needs(tiny_study: MakeStudy, data: Path, start: Path, tmp_path: Path) -> None:
    """A start file, and no method whose server learns: the simulator stays off."""
    write_start(tmp_path / "file", tiny_study(), read_tensors(start)[0], {})
    study = tiny_study(methods=["fedavg", "local"], server__pretrain__start=str(tmp_path / "file"))
    found = prepare(study, data, tmp_path / "cache", "cpu", quiet)
    assert found.synthetic is None
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["starts"]
    assert found.start.parent == tmp_path / "cache" / "starts"


def test_a_start_that_does_not_fit_is_found_before_anything_is_drawn(
    prepared: Callable[..., Prepared], tiny_study: MakeStudy, data: Path, start: Path, tmp_path: Path
) -> None:
    write_start(tmp_path / "file", tiny_study(), read_tensors(start)[0], {})
    with pytest.raises(NetworkError, match=r"network\.pyramid_channels is 64 here and 32 there"):
        prepared(data, server__pretrain__start=str(tmp_path / "file"), network__pyramid_channels=64)
    assert not (tmp_path / "cache").exists()


def test_what_is_drawn(tiny_study: MakeStudy) -> None:
    study = tiny_study(synthetic__size=[48, 80])
    request = synthetic_request(study)
    assert (request.profiles, request.clips, request.height, request.width) == (("abdominal", "kidney_bed"), 8, 48, 80)
    simulate = {"profiles": ["eye"], "cases": 2, "clips": 4, "val_cases": 1, "seed": 7, "whole_instruments": True}
    sites = [{"name": "north", "procedure": "cataract surgery", "simulate": simulate}]
    (site,) = tiny_study(sites=sites).sites
    drawn = site_request(site, tiny_study(sites=sites))
    assert (drawn.site, drawn.procedure, drawn.cases, drawn.val_cases) == ("north", "cataract surgery", 2, 1)
    assert (drawn.seed, drawn.look_seed, drawn.whole_instruments) == (7, 7, True)
    assert (drawn.height, drawn.width) == (64, 64)
    drawn.check()


def test_a_device_that_is_not_here(tiny_study: MakeStudy, data: Path, tmp_path: Path) -> None:
    with pytest.raises(FedsurgError, match="device 'nowhere' cannot be used here; take 'auto' or 'cpu'"):
        prepare(tiny_study(), data, tmp_path / "cache", "nowhere", quiet)
    assert not (tmp_path / "cache").exists()

"""The start: cached by digest, and resumed to the last bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fedsurg.errors import FederationError
from fedsurg.learning import pretrain
from fedsurg.learning.pretrain import AveragedWeights, Start, make_start, start_digest
from fedsurg.models import build_network
from fedsurg.models.start_file import write_start
from fedsurg.study import Study

CPU = torch.device("cpu")


@pytest.fixture
def make(
    synthetic: Path, tmp_path: Path, tiny_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Start]:
    """Make a start of three steps that is saved after each."""
    monkeypatch.setattr(pretrain, "CHUNK", 1)

    def run(
        cache: str,
        progress: Callable[[int, int], None] | None = None,
        steps: int = 3,
        ema: float = 0.0,
        deep: float = 0.0,
        rate: float = 5e-4,
    ) -> Start:
        keys = {"steps": steps, "ema_decay": ema, "deep_supervision": deep, "learning_rate": rate}
        study = tiny_study(**{f"server__pretrain__{key}": value for key, value in keys.items()})
        return make_start(study, lambda: synthetic, "synthetic", tmp_path / cache, device=CPU, progress=progress)

    return run


def test_cached_by_digest(make: Callable[..., Start], tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    first = make("a", lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    again = make("a", lambda done, total: calls.append((done, total)))
    assert len(calls) == 3
    assert again.digest == first.digest
    assert all(torch.equal(value, again.tensors[name]) for name, value in first.tensors.items())
    assert [path.name for path in (tmp_path / "a").iterdir()] == [f"start-{first.digest[:16]}.safetensors"]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_stopped_and_resumed_equals_uninterrupted(make: Callable[..., Start], ema: float) -> None:
    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make("stopped", stop, ema=ema)
    calls: list[int] = []
    resumed = make("stopped", lambda done, _total: calls.append(done), ema=ema)
    assert calls == [3]
    straight = make("straight", ema=ema)
    assert all(torch.equal(value, resumed.tensors[name]) for name, value in straight.tensors.items())


def test_deep_supervision_changes_the_start_and_resumes_to_the_last_bit(make: Callable[..., Start]) -> None:
    whole, plain = make("whole", deep=0.3), make("plain")
    assert set(whole.tensors) == set(plain.tensors)  # the heads are gone
    assert any(not torch.equal(value, plain.tensors[name]) for name, value in whole.tensors.items())

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make("halves", stop, deep=0.3)
    halves = make("halves", deep=0.3)
    assert all(torch.equal(value, halves.tensors[name]) for name, value in whole.tensors.items())


def test_a_start_that_is_no_longer_finite_is_no_start(make: Callable[..., Start], tmp_path: Path) -> None:
    said = r"^the start: of 3 steps the last 2 had no finite loss; lower server\.pretrain\.learning_rate$"
    with pytest.raises(FederationError, match=said):
        make("wild", rate=1e30)
    assert not list((tmp_path / "wild").glob("start-*"))


def test_no_steps_is_the_network_as_it_is_built(make: Callable[..., Start], tiny_study: Callable[..., Study]) -> None:
    study = tiny_study()
    built = build_network(study.network, 4, seed=study.seed).tensors()
    start = make("none", steps=0)
    assert start.tensors.keys() == built.keys()
    assert all(torch.equal(value, built[name]) for name, value in start.tensors.items())


def test_the_moving_average_by_hand() -> None:
    """Kept at steps 0, 1, 2: 1/10, 2/11, then the decay 0.2 instead of 3/12."""
    weight = torch.nn.Parameter(torch.tensor([0.0]))
    average = AveragedWeights({"w": weight}, 0.2)
    for step, value in enumerate((1.0, 2.0, 3.0)):
        weight.data.fill_(value)
        average.update(step)
    first = 0.9
    second = first * 2 / 11 + 2 * 9 / 11
    assert average.tensors["w"].item() == pytest.approx(0.2 * second + 0.8 * 3, rel=1e-6)
    assert weight.item() == 3.0


def test_the_average_lags_behind_the_last_weights(make: Callable[..., Start]) -> None:
    last, mean = make("last"), make("mean", ema=0.9)
    assert last.digest != mean.digest
    first = make("none", steps=0)

    def way(start: Start) -> float:
        return sum(float((value - first.tensors[name]).norm()) for name, value in start.tensors.items())

    assert 0 < way(mean) < way(last)


def test_a_start_file_needs_no_video(
    tiny_study: Callable[..., Study], make: Callable[..., Start], tmp_path: Path
) -> None:
    trained = make("a")
    write_start(tmp_path / "file", tiny_study(), trained.tensors, {})
    study = tiny_study(server__pretrain__start=str(tmp_path / "file"))

    def no_video() -> Path:
        raise AssertionError("the video was asked for")

    start = make_start(study, no_video, "synthetic", tmp_path / "b", device=CPU)
    assert all(torch.equal(value, trained.tensors[name].half().float()) for name, value in start.tensors.items())
    (tmp_path / "file").unlink()  # from here on it is in the cache
    assert make_start(study, no_video, "other", tmp_path / "b", device=CPU).digest == start.digest


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_start_file_is_trained_further(
    tiny_study: Callable[..., Study], make: Callable[..., Start], synthetic: Path, tmp_path: Path, ema: float
) -> None:
    """From its weights, and resumed to the last bit."""
    given = {name: (value + 0.1).half().float() for name, value in make("a").tensors.items()}
    write_start(tmp_path / "file", tiny_study(), given, {})
    keys = {"start": str(tmp_path / "file"), "further_steps": 2, "ema_decay": ema, "learning_rate": 1e-5}
    study = tiny_study(**{f"server__pretrain__{key}": value for key, value in keys.items()})

    def further(cache: str, progress: Callable[[int, int], None] | None = None) -> Start:
        return make_start(study, lambda: synthetic, "synthetic", tmp_path / cache, device=CPU, progress=progress)

    def stop(done: int, _total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    whole = further("whole")
    apart = max(float((value - given[name]).abs().max()) for name, value in whole.tensors.items())
    assert 0 < apart < 1e-3  # two small steps; from the weights that the study itself begins with it would be 0.1
    with pytest.raises(KeyboardInterrupt):
        further("halves", stop)
    calls: list[tuple[int, int]] = []
    halves = further("halves", lambda done, total: calls.append((done, total)))
    assert calls == [(2, 2)]
    assert all(torch.equal(value, halves.tensors[name]) for name, value in whole.tensors.items())


def test_what_another_start_from_a_file_is(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    digests = []
    for content in (b"one", b"two"):
        (tmp_path / "file").write_bytes(content)
        for further in ({}, {"further_steps": 1}, {"further_steps": 2}, {"further_steps": 2, "learning_rate": 1e-5}):
            keys = {"start": str(tmp_path / "file"), **further}
            study = tiny_study(**{f"server__pretrain__{key}": value for key, value in keys.items()})
            digests += [start_digest(study, video) for video in ("s", "t")]
    assert len(set(digests)) == 2 * (1 + 3 * 2)  # without further steps the video is not looked at
    unused = tiny_study(**{f"server__pretrain__{key}": value for key, value in (keys | {"steps": 77}).items()})
    assert start_digest(unused, "t") == digests[-1]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"server__pretrain__steps": 9},
        {"server__pretrain__ema_decay": 0.9},
        {"network__pyramid_channels": 64},
        {"task__image_size": [96, 64]},
        {"local__jaccard": 0.1},
        {"local__mixed_precision": "bf16"},
    ],
    ids=str,
)
def test_what_another_start_is(tiny_study: Callable[..., Study], change: dict[str, object]) -> None:
    assert start_digest(tiny_study(**change), "s") != start_digest(tiny_study(), "s")


def test_what_the_start_does_not_depend_on(tiny_study: Callable[..., Study]) -> None:
    digest = start_digest(tiny_study(), "s")
    assert start_digest(tiny_study(), "other video") != digest
    for change in (
        {"federation__rounds": 9},
        {"methods": ["local"]},
        {"network__adapters__rank": 8},
        {"network__gate__text": "sentence"},
        {"local__steps": 99},
        {"server__serq__lambda_3": 1.0},
    ):
        assert start_digest(tiny_study(**change), "s") == digest, change

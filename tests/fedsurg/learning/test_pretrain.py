"""The start: cached by digest, and resumed to the last bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fedsurg.learning import pretrain
from fedsurg.learning.pretrain import Start, make_start, start_digest
from fedsurg.models import build_network
from fedsurg.study import Study

CPU = torch.device("cpu")


@pytest.fixture
def make(
    synthetic: Path, tmp_path: Path, tiny_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Start]:
    """Make a start of three steps that is saved after each."""
    monkeypatch.setattr(pretrain, "CHUNK", 1)

    def run(cache: str, progress: Callable[[int, int], None] | None = None, steps: int = 3) -> Start:
        study = tiny_study(server__pretrain__steps=steps)
        return make_start(study, synthetic, "synthetic", tmp_path / cache, device=CPU, progress=progress)

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


def test_stopped_and_resumed_equals_uninterrupted(make: Callable[..., Start]) -> None:
    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make("stopped", stop)
    calls: list[int] = []
    resumed = make("stopped", lambda done, _total: calls.append(done))
    assert calls == [3]
    straight = make("straight")
    assert all(torch.equal(value, resumed.tensors[name]) for name, value in straight.tensors.items())


def test_no_steps_is_the_network_as_it_is_built(make: Callable[..., Start], tiny_study: Callable[..., Study]) -> None:
    study = tiny_study()
    built = build_network(study.network, 4, seed=study.seed).tensors()
    start = make("none", steps=0)
    assert start.tensors.keys() == built.keys()
    assert all(torch.equal(value, built[name]) for name, value in start.tensors.items())


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"server__pretrain__steps": 9},
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

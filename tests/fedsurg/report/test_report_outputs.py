"""Overlays, TensorBoard events and the command."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fedsurg.cli.report import report
from fedsurg.data.outlines import label_colour, rgb
from fedsurg.errors import RunError
from fedsurg.report.overlays import draw_overlay
from fedsurg.report.tensorboard import write_events

RunMaker = Callable[..., Path]


def test_an_overlay_fills_the_prediction_and_outlines_the_truth() -> None:
    frame = np.full((20, 30, 3), 100, np.uint8)
    label, predicted = np.zeros((20, 30), np.int64), np.zeros((20, 30), np.int64)
    label[4:16, 4:14] = 1
    predicted[4:16, 16:26] = 1
    picture = draw_overlay(frame, label, predicted, labels=2, scale=2)
    assert picture.shape == (40, 60, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[20, 18], [100, 100, 100])  # inside a missed instrument: the frame
    np.testing.assert_array_equal(picture[0, 0], [100, 100, 100])
    assert (picture[8, 10:26] > 200).all()  # its upper edge: white
    filled = [round(0.45 * 100 + 0.55 * channel) for channel in rgb(label_colour(1))]
    np.testing.assert_allclose(picture[20, 42], filled, atol=1)


def test_an_overlay_takes_ignored_pixels_as_background_and_leaves_its_inputs_alone() -> None:
    frame = np.full((16, 24, 3), 90, np.uint8)
    label = np.full((16, 24), 255, np.int64)
    picture = draw_overlay(frame, label, np.zeros_like(label), labels=3, scale=1)
    np.testing.assert_array_equal(picture, frame)
    assert (label == 255).all()


def test_an_overlay_of_mismatched_masks_is_refused() -> None:
    with pytest.raises(ValueError, match="do not match"):
        draw_overlay(np.zeros((4, 6, 3), np.uint8), np.zeros((6, 4)), np.zeros((4, 6)), labels=2)


def test_events_hold_each_round_once_however_often_they_are_written(run_maker: RunMaker) -> None:
    event_files = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    path = run_maker(methods=("fedst",), rounds=3, finished=False)
    write_events(path)
    folder = write_events(path)
    assert sorted(one.name for one in folder.iterdir()) == ["fedst-fold0", "fedst-fold1"]
    events = event_files.EventAccumulator(str(folder / "fedst-fold0"))
    events.Reload()
    assert {"iou/north", "received_iou/north", "train_loss/north", "server/serq_global_loss"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.step for event in events.Scalars("iou/north")] == [1, 2, 3]
    assert [event.step for event in events.Scalars("received_iou/north")] == [2, 3]


def test_the_command_writes_everything_and_prints_the_table(run_maker: RunMaker) -> None:
    path = run_maker(methods=("fedst",), folds=0, rounds=1)
    result = CliRunner().invoke(report, [str(path)])
    assert result.exit_code == 0, result.output
    assert "FedST has on the federated sites a mean IoU of" in result.output
    assert str(path / "report.html") in result.output
    assert all((path / name).exists() for name in ("report.html", "report-shareable.html", "tensorboard"))


def test_the_command_prints_json_for_programs(run_maker: RunMaker) -> None:
    path = run_maker(methods=("fedst", "local"), folds=0, rounds=1)
    found = json.loads(CliRunner().invoke(report, [str(path), "--json"]).output)
    assert [row["method"] for row in found["methods"]] == ["fedst", "local"]
    assert found["methods"][1]["unseen_iou"] is None
    assert found["report"] == str(path / "report.html")


def test_the_command_hands_the_error_on(tmp_path: Path) -> None:
    result = CliRunner().invoke(report, [str(tmp_path)])
    assert isinstance(result.exception, RunError)
    assert "run.json is missing" in str(result.exception)

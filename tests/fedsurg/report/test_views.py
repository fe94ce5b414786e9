"""What a card says of how a finished model is asked."""

from collections.abc import Callable
from typing import Any

import pytest

from fedsurg.report.views import views_in_words
from fedsurg.study import Study


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ({}, ""),
        ({"scales": [2.0]}, "Use the network's probabilities on the frame at 128 x 128 pixels: scores are of that."),
        (
            {"mirrored": True},
            "Use the mean of the network's probabilities on the frame, and its mirror image, at 64 x 64 pixels: scores "
            "are of that.",
        ),
        (
            {"scales": [1.0, 2.0], "confidence": 10.0},
            "Use the mean of the network's probabilities on the frame at 64 x 64 and 128 x 128 pixels: scores are of "
            "that.\nIn the mean a size counts by exp(10 x `fedsurg.learning.decision.expected_iou`).",
        ),
        (
            {"decision": "overlap", "sureness": 0.8},
            "Labels are not each pixel's likeliest, but those of `fedsurg.learning.decision.Decision(overlap=True, "
            "sureness=0.8)`.",
        ),
    ],
)
def test_what_differs_from_asking_once_is_said(
    tiny_study: Callable[..., Study], evaluation: dict[str, Any], said: str
) -> None:
    study = tiny_study(**{f"evaluation__{key}": value for key, value in evaluation.items()})
    assert views_in_words(study) == ("\n" + said if said else "")


def test_a_site_that_magnifies_says_so(tiny_study: Callable[..., Study]) -> None:
    assert views_in_words(tiny_study(), 1.5).startswith(
        "\nInstruments look small at this hospital: frames are also shown 1.5 times as large.\nUse the mean of"
    )

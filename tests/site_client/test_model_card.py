"""What the card of an exported model says of how it was made."""

from collections.abc import Callable
from typing import Any

import pytest

from fedsurg.study import Study
from site_client.model_card import model_card


@pytest.mark.parametrize(
    ("method", "share", "said"),
    [
        ("fedst", 0.25, "It is the model of the last round."),
        ("ditto", 0.25, "It is a model of the hospital's own, trained beside the shared one and held near it."),
        (
            "fedst-own",
            0.0,
            "It is the moving average of the networks that this hospital trained, as each was before it was sent.",
        ),
        (
            "fedavg-own",
            0.25,
            "it was sent, with 25 % of the start, which no hospital has trained, in all that the start has.",
        ),
    ],
)
def test_a_card_says_what_is_in_the_model(
    tiny_study: Callable[..., Study], method: str, share: float, said: str
) -> None:
    study = tiny_study(local__start_share=share)
    facts: dict[str, Any] = {}
    assert said in model_card("north", study, "0" * 64, method, {}, facts, "1" * 64)


def test_a_card_of_a_chosen_round_says_both(tiny_study: Callable[..., Study]) -> None:
    card = model_card("north", tiny_study(), "0" * 64, "fedst-own", {}, {"round": 3, "iou": 0.5}, "1" * 64)
    assert (
        "with 25 % of the start, which no hospital has trained, in all that the start has. It is the model of" in card
    )
    assert "round 3, the best on this hospital's validation cases" in card

"""Ingredients left out of the pictures: the labels stay, the pictures change as said."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from fedsurg.errors import SimulatorError
from fedsurg.simulator.clip import ClipSeeds, draw_clip
from fedsurg.simulator.ingredients import INGREDIENTS, Ingredient, Recipe
from fedsurg.simulator.painter import GREY, plain
from fedsurg.simulator.profiles import PROFILES
from fedsurg.simulator.request import RenderRequest


def _frame(*plain: Ingredient):
    clip = draw_clip(PROFILES["kidney_bed"], ClipSeeds(3, 4, 5), 48, 64, 1.0, Recipe(frozenset(plain)))
    return clip.frame(clip.painter(), 0, 0.0)


@pytest.mark.parametrize("ingredient", INGREDIENTS)
def test_an_ingredient_left_out_changes_the_picture_and_no_label(ingredient):
    whole, without = _frame(), _frame(ingredient)
    inside = whole.parts > 0
    assert inside.any()
    assert not np.array_equal(whole.picture, without.picture)
    if ingredient != "nuisance":  # a perfect camera has no round view
        assert np.array_equal(whole.parts, without.parts)


def test_instruments_of_one_grey_plastic_have_no_colour_of_their_own():
    frame = _frame("instruments", "lighting", "nuisance")
    inside = binary_erosion(frame.parts > 0, iterations=2)  # at the edge the lens mixes in what is beside it
    pixels = frame.picture[inside].astype(int)
    assert len(pixels) > 50
    assert np.ptp(pixels, axis=1).max() <= 2


def test_every_part_of_an_instrument_is_of_that_grey_and_nothing_else_is():
    clip = draw_clip(PROFILES["kidney_bed"], ClipSeeds(3, 4, 5), 48, 64, 1.0)
    bodies = [*clip.still, *clip.bodies(0.0)]
    assert {body.label > 0 for body in bodies} == {True, False}
    assert all((plain(body, frozenset({"instruments"})) is GREY) == (body.label > 0) for body in bodies)


def test_an_unknown_ingredient_is_one_clear_line():
    request = RenderRequest(("eye",), 1, 1, 0, 32, 32)
    with pytest.raises(SimulatorError, match=r"plain names 'salt'; choose from lighting, texture"):
        replace(request, plain=("salt",)).check()
    assert replace(request, plain=("texture",)).digest() != request.digest()

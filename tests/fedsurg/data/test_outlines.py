"""Outlines and colours of labels."""

import numpy as np

from fedsurg.data.outlines import COLOURS, label_colour, outline, rgb


def test_an_outline_closes_round_a_label_on_all_sides() -> None:
    mask = np.zeros((5, 5), np.uint8)
    mask[1:4, 1:4] = 255
    expected = np.zeros((5, 5), bool)
    expected[1:4, 1:4] = True
    expected[2, 2] = False
    np.testing.assert_array_equal(outline(mask), expected)


def test_two_labels_that_touch_are_both_outlined_and_the_background_never_is() -> None:
    mask = np.array([[0, 1, 1, 1, 2, 2, 2, 0]])
    np.testing.assert_array_equal(outline(mask), [[False, True, False, True, True, False, True, False]])


def test_a_label_keeps_its_colour() -> None:
    assert label_colour(1) == COLOURS[0]
    assert label_colour(1 + len(COLOURS)) == COLOURS[0]
    np.testing.assert_array_equal(rgb("#2ec4ff"), [46, 196, 255])

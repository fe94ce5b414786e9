"""What can be left out of the pictures, to see its worth, or put on top; light, as every request is made with it."""

from dataclasses import dataclass
from typing import Literal, get_args

Ingredient = Literal["lighting", "texture", "instruments", "nuisance"]
INGREDIENTS: tuple[Ingredient, ...] = get_args(Ingredient)


@dataclass(frozen=True)
class Recipe:
    """How pictures are made, beside what is in them.

    Attributes:
        plain: ingredients left out; see `Look.without`.
        worn: with a worn camera; see `wear` and `lens`.
    """

    plain: frozenset[Ingredient] = frozenset()
    worn: bool = False


USUAL = Recipe()

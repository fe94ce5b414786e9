"""What can be left out of the pictures, to see what it is worth; light, as every request is made with it."""

from typing import Literal, get_args

Ingredient = Literal["lighting", "texture", "instruments", "nuisance"]
INGREDIENTS: tuple[Ingredient, ...] = get_args(Ingredient)

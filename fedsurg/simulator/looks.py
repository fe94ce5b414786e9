"""The look of a camera: optics, light, exposure, colour, noise. A site or a case draws one."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedsurg.simulator.fields import Rng
from fedsurg.simulator.ingredients import Ingredient
from fedsurg.simulator.profiles import AnatomyProfile
from fedsurg.simulator.wear import Wear


@dataclass(frozen=True)
class Look:
    """What one camera does to every picture it takes.

    Attributes:
        view_deg: horizontal angle of view.
        light: position of the spot light beside the lens, millimetres; beam, half-angle in degrees.
        ambient: even light, share of the spot's; mirrored: how much of it metal returns, which in a dark cavity has
            little to mirror.
        exposure: mean brightness aimed at, linear; gamma and contrast shape the tones.
        white: gains of red, green and blue; shadow: colour added to black; saturation: 1 leaves colours alone.
        vignette: darkening at the corners, 0 to 1; circle: radius of the round view as a share of half the
            diagonal, above 1 for a full picture.
        bloom: share of light that spills over.
        defocus_mm: how much the lens blurs what is near, see `focus.defocused`; 0: everything is sharp.
        blur: sigma in pixels for a picture 192 wide; noise: standard deviation; jpeg: quality, 0 for none.
        plain: ingredients that are left out; see `without`.
        wear: what is wrong with the camera; none: nothing.
    """

    view_deg: float
    light: tuple[float, float, float]
    beam: float
    ambient: float
    mirrored: float
    exposure: float
    gamma: float
    contrast: float
    white: tuple[float, float, float]
    shadow: tuple[float, float, float]
    saturation: float
    vignette: float
    circle: float
    bloom: float
    defocus_mm: float
    blur: float
    noise: float
    jpeg: int
    plain: frozenset[Ingredient] = frozenset()
    wear: Wear | None = None

    def without(self, ingredients: frozenset[Ingredient]) -> "Look":
        """A copy with ingredients left out, everything else being equal.

        `lighting`: even light from everywhere instead of a spot, no shade, no glare; `texture`: tissue of one colour
        each, smooth; `instruments`: all of one grey plastic; `nuisance`: a perfect camera in clear air.
        """
        if "nuisance" in ingredients:
            perfect = {
                "vignette": 0.0,
                "circle": 2.0,
                "bloom": 0.0,
                "defocus_mm": 0.0,
                "blur": 0.0,
                "noise": 0.0,
                "jpeg": 0,
            }
            neutral = {"white": (1.0, 1.0, 1.0), "shadow": (0.0, 0.0, 0.0), "saturation": 1.0, "gamma": 1.0}
            return replace(self, **perfect, **neutral, contrast=0.0, plain=ingredients)  # type: ignore[arg-type]
        return replace(self, plain=ingredients)


def draw_look(profile: AnatomyProfile, rng: Rng) -> Look:
    """A random camera for the profile."""
    near = 4.0 if not profile.eye else 7.0
    round_view = rng.random() < profile.round_view
    dark_green = rng.random() < (0.6 if profile.eye else 0.05)
    return Look(
        view_deg=rng.uniform(*profile.view_deg),
        light=(rng.normal(0, near), rng.normal(0, near), rng.uniform(-4, 2)),
        beam=rng.uniform(3.4, 6.5) if profile.eye else rng.uniform(22, 60),
        ambient=rng.uniform(0.02, 0.25) if profile.eye else rng.uniform(0.05, 0.6),
        mirrored=rng.uniform(0.3, 1.0) if profile.eye else rng.uniform(0.05, 0.2),
        exposure=float(np.exp(rng.uniform(*np.log((0.05, 0.18) if profile.eye else (0.10, 0.32))))),
        gamma=rng.uniform(0.85, 1.2),
        contrast=rng.uniform(0.0, 0.6),
        white=_three(np.exp(rng.normal(0, 0.05, 3))),
        shadow=_three(rng.uniform(0, 0.025, 3) * ((0.3, 1.2, 0.5) if dark_green else (1, 1, 1))),
        saturation=rng.uniform(0.85, 1.45),
        vignette=rng.uniform(0.0, 0.6),
        circle=rng.uniform(0.80, 0.98) if round_view else 2.0,
        bloom=rng.uniform(0.0, 0.3),
        defocus_mm=rng.uniform(0.2, 1.0) if rng.random() < 0.4 else 0.0,
        blur=rng.uniform(0.2, 0.9) if rng.random() < 0.25 else 0.0,
        noise=float(np.exp(rng.uniform(np.log(0.001), np.log(0.012)))),
        jpeg=int(rng.integers(40, 90)) if rng.random() < 0.15 else 0,
    )


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue

"""What dims the view: smoke, what sticks to the lens, and a camera that is out of the body to be wiped."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedsurg.files import derived_seed
from fedsurg.simulator.camera import Camera
from fedsurg.simulator.fields import Field
from fedsurg.simulator.ingredients import Recipe
from fedsurg.simulator.lens import Lens, draw_lens
from fedsurg.simulator.profiles import AnatomyProfile
from fedsurg.simulator.smoke import Puff, Smoke, draw_smoke


@dataclass(frozen=True, eq=False)
class Sight:
    """What lies between tissue and sensor at one moment.

    Attributes:
        veil: how far the camera is out of the body, 0 to 1.
        smoke: share of smoke (h, w); None: there is none.
        lens: what is on it; None: nothing.
    """

    veil: float = 0.0
    smoke: Field | None = None
    lens: Lens | None = None


@dataclass(frozen=True, eq=False)
class Murk:
    """What dims the view over one clip."""

    smoke: Smoke | None
    lens: Lens | None

    @property
    def plumes(self) -> bool:
        """Whether coagulation is seen to smoke."""
        return self.smoke is not None and self.smoke.plume > 0

    def at(self, time: float, size: tuple[int, int], camera: Camera | None = None, puffs: Sequence[Puff] = ()) -> Sight:
        """The sight of a picture of `size` (h, w) at `time` seconds; without a `camera` nothing is ever wiped."""
        smoke = self.smoke.at(time, size, puffs) if self.smoke else None
        wiped = camera.wiped(time) if camera else -np.inf
        lens = self.lens.at(time, wiped) if self.lens else None
        return Sight(camera.veil(time) if camera else 0.0, smoke, lens)


def draw_murk(profile: AnatomyProfile, seed: int, duration: float, recipe: Recipe) -> Murk:
    """What dims a clip of `duration` seconds: smoke, unless nuisance is left out; drops and mist on worn cameras."""
    smoke = draw_smoke(np.random.default_rng(derived_seed("smoke", seed)), profile.haze)
    lens = draw_lens(np.random.default_rng(derived_seed("lens", seed)), duration) if recipe.worn else None
    return Murk(None if "nuisance" in recipe.plain else smoke, lens)

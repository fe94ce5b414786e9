"""A renderer of labelled synthetic surgical video: the only data the server of a federation owns.

Importing this package is cheap; Mitsuba is loaded by the processes that render.
"""

from fedsurg.simulator.dataset import cached, render
from fedsurg.simulator.profiles import PROFILES, AnatomyProfile
from fedsurg.simulator.request import SIMULATOR_VERSION, RenderRequest

__all__ = ["PROFILES", "SIMULATOR_VERSION", "AnatomyProfile", "RenderRequest", "cached", "render"]

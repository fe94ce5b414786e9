"""What a renderer needs to know of a surface, free of any renderer."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedsurg.simulator.meshes import Mesh

Kind = Literal["plastic", "metal"]


@dataclass(frozen=True, eq=False)
class Material:
    """Rough plastic (a coloured body under a clear coat) or rough metal.

    `colour_map` (h, w, 3), linear RGB, replaces `colour`. `bump_map` (h, w) is a height in units of the texture's
    width; it changes the shading, not the outline. Compared by identity: one object is one renderer material.
    """

    kind: Kind
    colour: tuple[float, float, float]
    roughness: float
    colour_map: NDArray[np.float32] | None = None
    bump_map: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Body:
    """One thing in the scene: its shape, its surface and the mask value its pixels get (0: background).

    `instrument` says which instrument of the clip it belongs to, from 1; 0: none.
    """

    mesh: Mesh
    material: Material
    label: int
    instrument: int = 0

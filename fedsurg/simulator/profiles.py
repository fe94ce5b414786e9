"""Profiles of anatomy: what the camera may see and which instruments work there.

A profile holds ranges and choices; every case draws its own values from them, widely, because a network
trained on these pictures meets patients that no profile describes.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from fedsurg.errors import SimulatorError

Range = tuple[float, float]
Kind = Literal[
    "grasper",
    "bipolar",
    "scissors",
    "hook",
    "needle_driver",
    "clip_applier",
    "stapler",
    "suction",
    "forceps",
    "probe",
    "cannula",
    "injector",
]
Carrier = Literal["robotic", "straight", "hand"]


class Style(NamedTuple):
    """An instrument: what it is, and what carries it (`hand`: instruments for the eye)."""

    kind: Kind
    carrier: Carrier


Tray = tuple[tuple[Style, float], ...]


@dataclass(frozen=True)
class Tissue:
    """One kind of surface.

    Attributes:
        colours: '#rrggbb', from the most to the least common; blended by noise.
        lobes: relief of fat lobules, 0 none to 1 strong.
        folds: relief of long folds, 0 none to 1 strong.
        vessels: how many vessel trees, 0 none to 1 dense.
    """

    colours: tuple[str, ...]
    lobes: float = 0.0
    folds: float = 0.2
    vessels: float = 0.3


FAT = Tissue(("#d9a441", "#e8bd62", "#c98232", "#f0d48a"), lobes=1.0, folds=0.1, vessels=0.2)
PALE_FAT = Tissue(("#e6cf9c", "#d8b97e", "#f2e3bd", "#c99a68"), lobes=0.8, folds=0.1, vessels=0.2)
BOWEL = Tissue(("#d58c82", "#c8665f", "#e3aaa0", "#b04a4a"), folds=0.4, vessels=0.8)
MUCOSA = Tissue(("#c9756b", "#dd9a8b", "#b5524c"), folds=0.9, vessels=0.4)
PERITONEUM = Tissue(("#cf8a80", "#dba79b", "#b96a66", "#e4c0b4"), folds=0.2, vessels=0.9)
LIVER = Tissue(("#7a2c26", "#8f3a31", "#5f1f1d"), folds=0.0, vessels=0.1)
FATTY_LIVER = Tissue(("#94423f", "#aa5a4c", "#7c3036", "#a9865a"), folds=0.1, vessels=0.5)
KIDNEY = Tissue(("#a8605a", "#c58a82", "#8c4444", "#d9b5ab"), folds=0.05, vessels=0.4)
RAW = Tissue(("#9c1f22", "#c23a37", "#6b1013", "#d8776d"), folds=0.7, vessels=0.5)
FASCIA = Tissue(("#dcc0b6", "#ecd8ce", "#c99a90", "#b8b4c4"), folds=0.5, vessels=0.3)
BEIGE = Tissue(("#c99778", "#b9805f", "#d9ae92", "#a5684f"), folds=0.8, vessels=0.2)
GALL = Tissue(("#6d6a35", "#8a7a3a", "#4f4a2a", "#a08a4a"), folds=0.5, vessels=0.2)
LUNG = Tissue(("#c97f86", "#b06a75", "#dfa9aa", "#7c4c5a"), lobes=0.3, folds=0.2, vessels=0.5)
BLUISH = Tissue(("#8d90a6", "#727a94", "#a9abb9", "#5c6178"), folds=0.3, vessels=0.4)
GREY = Tissue(("#9a9490", "#b8b0aa", "#77706c"), folds=0.4, vessels=0.4)


@dataclass(frozen=True)
class AnatomyProfile:
    """Ranges from which one case is drawn.

    Attributes:
        name, summary: for tables and errors.
        tissues: kinds of surface with their weights.
        regions: how many patches of tissue the bed is divided into.
        organs: how many free-standing organs rise from it.
        relief: height of the bed's hills as a share of its width.
        wetness: 0 dry to 1 dripping: decides the sharpness of the glare.
        blood, char, fibres, films: probability that a case shows them; films are adhesions and gauze.
        strands: probability of ligaments and ducts, as slim and often as pale as a shaft.
        bands: probability of pale ligaments that lie flat on the bed and cross it, about as wide as a shaft.
        clutter: probability of things that are no instrument: clips and thread.
        instruments: styles with their weights.
        counts: probabilities of 1, 2, ... instruments at a time.
        radius_mm: of the shafts.
        distance_mm: from the camera to the bed.
        reach: least depth of idle tips as a share of the tissue's; at work they are at the tissue.
        view_deg: horizontal angle of view.
        tilt_deg: largest tilt of the bed against the camera.
        round_view: probability of black corners.
        haze: probability that a clip is hazy with smoke.
        eye: the bed is an eye under a microscope.
    """

    name: str
    summary: str
    tissues: tuple[tuple[Tissue, float], ...]
    instruments: Tray
    regions: tuple[int, int] = (2, 5)
    organs: tuple[int, int] = (0, 2)
    relief: Range = (0.03, 0.10)
    wetness: Range = (0.3, 1.0)
    blood: float = 0.4
    char: float = 0.2
    fibres: float = 0.4
    films: float = 0.35
    strands: float = 0.5
    bands: float = 0.0
    clutter: float = 0.2
    counts: tuple[float, ...] = (0.28, 0.42, 0.22, 0.08)
    radius_mm: Range = (2.5, 4.5)
    distance_mm: Range = (55.0, 110.0)
    reach: float = 0.55
    view_deg: Range = (55.0, 75.0)
    tilt_deg: float = 35.0
    round_view: float = 0.15
    haze: float = 0.08
    eye: bool = False


def _tray(carrier: Carrier, weights: dict[Kind, float], share: float = 1.0) -> Tray:
    """Instruments on one carrier; `weights` are scaled to add up to `share`."""
    total = sum(weights.values())
    return tuple((Style(kind, carrier), share * weight / total) for kind, weight in weights.items())


_WRISTED: dict[Kind, float] = {
    "grasper": 5,
    "bipolar": 4,
    "scissors": 3,
    "needle_driver": 3,
    "hook": 1,
    "clip_applier": 1,
}
_RIGID: dict[Kind, float] = {
    "grasper": 6,
    "bipolar": 1,
    "scissors": 2,
    "hook": 2,
    "stapler": 1.5,
    "clip_applier": 1,
    "suction": 1.5,
    "needle_driver": 0.5,
}
_AT_THE_ROBOT: dict[Kind, float] = {"grasper": 3, "suction": 4, "clip_applier": 1, "stapler": 0.5}
_ROBOTIC = _tray("robotic", _WRISTED, 0.82) + _tray("straight", _AT_THE_ROBOT, 0.18)
_LAPAROSCOPIC = _tray("straight", _RIGID, 0.92) + _tray("robotic", _WRISTED, 0.08)

_ALL = (
    AnatomyProfile(
        "abdominal",
        "laparoscopy between bowel, mesentery and yellow fat",
        tissues=(
            (FAT, 3),
            (BOWEL, 3),
            (PERITONEUM, 2),
            (PALE_FAT, 1),
            (RAW, 1),
            (LIVER, 0.5),
            (FASCIA, 0.5),
            (GREY, 0.4),
        ),
        instruments=_LAPAROSCOPIC,
        organs=(0, 3),
        round_view=0.4,
        haze=0.12,
        radius_mm=(2.2, 4.5),
    ),
    AnatomyProfile(
        "kidney_bed",
        "robot at the kidney: red bed, pale organ, hard glare, large dark instruments",
        tissues=(
            (PERITONEUM, 3),
            (KIDNEY, 2),
            (RAW, 1.5),
            (FASCIA, 1),
            (LIVER, 1),
            (BOWEL, 1),
            (FAT, 0.5),
            (GREY, 0.5),
        ),
        instruments=_tray("robotic", _WRISTED, 0.75) + _tray("straight", _AT_THE_ROBOT, 0.25),
        organs=(0, 2),
        clutter=0.4,
        counts=(0.2, 0.45, 0.35),
        radius_mm=(3.5, 5.5),
        reach=0.4,
    ),
    AnatomyProfile(
        "prostate_fossa",
        "robot in the narrow pelvis: raw red tissue, fibres, blood, char",
        tissues=((RAW, 3), (FASCIA, 2), (FAT, 1), (PALE_FAT, 1), (MUCOSA, 1), (BLUISH, 0.4)),
        instruments=_ROBOTIC,
        relief=(0.05, 0.14),
        blood=0.7,
        char=0.4,
        fibres=0.7,
        clutter=0.25,
    ),
    AnatomyProfile(
        "uterus",
        "pelvic laparoscopy: smooth pink organ, peritoneum, vessels",
        tissues=((PERITONEUM, 3), (BOWEL, 2), (KIDNEY, 1), (FAT, 1), (FASCIA, 1)),
        instruments=_LAPAROSCOPIC,
        organs=(1, 3),
        round_view=0.3,
        haze=0.12,
    ),
    AnatomyProfile(
        "stomach",
        "robot over beige and pink ex-vivo tissue: folds and many small glints",
        tissues=((BEIGE, 3), (MUCOSA, 2), (BOWEL, 2), (PALE_FAT, 1), (LIVER, 1), (FASCIA, 0.5), (GREY, 0.4)),
        instruments=_tray("robotic", _WRISTED, 0.9) + _tray("straight", {"grasper": 1}, 0.1),
        wetness=(0.6, 1.0),
        blood=0.2,
        radius_mm=(3.5, 5.0),
    ),
    AnatomyProfile(
        "thoracic",
        "thoracoscopy: mottled lung, pale pleura, dark spaces",
        tissues=((LUNG, 4), (FASCIA, 2), (PALE_FAT, 1), (RAW, 1), (GREY, 1), (BLUISH, 0.7), (GALL, 0.5)),
        instruments=_LAPAROSCOPIC,
        relief=(0.05, 0.14),
        organs=(0, 2),
        round_view=0.3,
    ),
    AnatomyProfile(
        "liver",
        "smooth red liver with pale ligaments, gallbladder, fat",
        tissues=(
            (FATTY_LIVER, 4),
            (LIVER, 3),
            (FAT, 0.7),
            (PERITONEUM, 0.7),
            (FASCIA, 0.5),
            (PALE_FAT, 0.5),
            (GALL, 0.5),
        ),
        instruments=_tray("straight", _RIGID, 0.5) + _tray("robotic", _WRISTED, 0.5),
        regions=(1, 3),
        relief=(0.02, 0.07),
        bands=0.8,
        round_view=0.25,
        haze=0.1,
        radius_mm=(2.5, 5.0),
    ),
    AnatomyProfile(
        "eye",
        "cataract surgery under a microscope: iris, pupil, sclera, lids, thin metal",
        tissues=((PALE_FAT, 1),),
        instruments=_tray("hand", {"probe": 0.35, "forceps": 0.3, "cannula": 0.25, "injector": 0.1}),
        organs=(0, 0),
        strands=0.0,
        wetness=(0.7, 1.0),
        clutter=0.6,
        counts=(0.55, 0.4, 0.05),
        radius_mm=(0.14, 0.45),
        distance_mm=(160.0, 200.0),
        view_deg=(9.0, 14.0),
        tilt_deg=6.0,
        round_view=0.3,
        haze=0.03,
        eye=True,
    ),
)

PROFILES: dict[str, AnatomyProfile] = {profile.name: profile for profile in _ALL}


def profile_named(name: str) -> AnatomyProfile:
    """The profile called `name`.

    Raises:
        SimulatorError: there is none; the message lists those there are.
    """
    if name not in PROFILES:
        raise SimulatorError(f"simulator profile {name!r} is unknown; choose from {', '.join(PROFILES)}")
    return PROFILES[name]

"""What can be asked of the simulator."""

from dataclasses import dataclass, fields

from fedsurg.errors import SimulatorError
from fedsurg.files import digest_of
from fedsurg.simulator.assets import RENDERED, Assets
from fedsurg.simulator.ingredients import INGREDIENTS, Ingredient
from fedsurg.simulator.profiles import profile_named
from fedsurg.simulator.video import LONGEST_CLIP_S, check_video

SIMULATOR_VERSION = 10  # part of every digest: raise it whenever pictures change
SMALLEST_SIDE = 16  # pixels; nothing can be recognised below
MOST = 1_000_000  # clips, or frames of one: more than a disk holds
LARGEST_SIDE = 8192  # pixels: no surgical video is larger, and JPEG ends at 65500
LABELS = ("parts", "instances", "depth")


@dataclass(frozen=True)
class RenderRequest:
    """Everything that decides the bytes of a rendered folder.

    Attributes:
        profiles: names of anatomy profiles; cases cycle through them.
        clips, frames: number of clips, and of consecutive frames in each.
        seed: of everything random.
        height, width: pixels.
        site, procedure: texts for site.toml.
        cases: clips are dealt over this many cases, 0 for one each; a case has one anatomy and one set of
            instruments.
        val_cases, test_cases: the last cases go to `test`, those before to `val`, the rest to `train`.
        whole_instruments: masks hold one value for all parts.
        look_seed: fixes the camera and the instruments' materials, so that a simulated hospital has a look of
            its own, one per profile; None: one per case.
        frame_rate_hz: of the clips.
        plain: ingredients left out to measure what they are worth; see `Look.without`.
        worn: a worn camera: bent lens, drops and mist on it, interlaced or poor recording.
        labels: what is written beside each picture, of `LABELS`: the masks, always; which instrument a pixel belongs
            to, with the instruments' types; the depth.
        video: each clip also as an H.264 file.
        assets: photographs of tissue and cut-outs of instruments to use; the digest holds their content, not their
            places.
    """

    profiles: tuple[str, ...]
    clips: int
    frames: int
    seed: int
    height: int
    width: int
    site: str = "synthetic"
    procedure: str = "simulated surgery"
    cases: int = 0
    val_cases: int = 0
    test_cases: int = 0
    whole_instruments: bool = False
    look_seed: int | None = None
    frame_rate_hz: float = 8.0
    plain: tuple[Ingredient, ...] = ()
    worn: bool = False
    labels: tuple[str, ...] = ("parts",)
    video: bool = False
    assets: Assets = RENDERED

    def digest(self) -> str:
        """SHA-256 (hex) over all fields and the simulator's version."""
        return digest_of({"request": self.as_dict(), "version": SIMULATOR_VERSION})

    def as_dict(self) -> dict[str, object]:
        """The fields as plain JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {"profiles": list(self.profiles), "labels": sorted(self.labels), "plain": sorted(self.plain)}
        if not self.worn:
            del values["worn"]  # so that renderings from before there was a worn camera are still known
        return values | lists | {"assets": self.assets.digests()}

    def check(self) -> None:
        """Refuses a request that cannot be rendered.

        Raises:
            SimulatorError: an unknown profile or label, or an impossible number; the message names it.
        """
        if not self.profiles:
            raise SimulatorError("a rendering needs at least one profile; see: fedsurg simulator profiles")
        for name in self.profiles:
            profile_named(name)
        for name, value, least, most in (
            ("clips", self.clips, 1, MOST),
            ("frames", self.frames, 1, MOST),
            ("height", self.height, SMALLEST_SIDE, LARGEST_SIDE),
            ("width", self.width, SMALLEST_SIDE, LARGEST_SIDE),
            ("cases", self.cases, 0, MOST),
            ("val_cases", self.val_cases, 0, MOST),
            ("test_cases", self.test_cases, 0, MOST),
        ):
            if not least <= value <= most:
                bound = f"least {least}" if value < least else f"most {most}"
                raise SimulatorError(f"{name} is {value}; it must be at {bound}")
        unknown = sorted(set(self.plain) - set(INGREDIENTS))
        if unknown:
            raise SimulatorError(f"plain names {unknown[0]!r}; choose from {', '.join(INGREDIENTS)}")
        if self.cases > self.clips:
            raise SimulatorError(
                f"cases is {self.cases}, but there are only {self.clips} clips; use at most {self.clips}"
            )
        if self.val_cases + self.test_cases > self.case_count:
            held = self.val_cases + self.test_cases
            raise SimulatorError(f"val_cases + test_cases is {held}; there are only {self.case_count} cases")
        if not 0 < self.frame_rate_hz < MOST:
            raise SimulatorError(f"frame_rate_hz is {self.frame_rate_hz}; it must be above 0 and below {MOST}")
        if self.frames / self.frame_rate_hz > LONGEST_CLIP_S:
            raise SimulatorError(
                f"{self.frames} frames at frame_rate_hz {self.frame_rate_hz} are a clip of more than a day; ask for "
                "fewer frames, or for more of them in a second"
            )
        self._check_names()
        self._check_outputs()

    def _check_names(self) -> None:
        for name, text in (("site", self.site), ("procedure", self.procedure)):
            if not text.strip():
                raise SimulatorError(f"{name} is empty; give what site.toml is to say")
            if any(0xD800 <= ord(letter) < 0xE000 for letter in text):  # bytes that the terminal could not read
                raise SimulatorError(f"{name} is {text!r}, which is not all text; give it in UTF-8")

    def _check_outputs(self) -> None:
        for name in self.labels:
            if name not in LABELS:
                raise SimulatorError(f"label {name!r} is unknown; choose from {', '.join(LABELS)}")
        if len(set(self.labels)) < len(self.labels) or LABELS[0] not in self.labels:
            raise SimulatorError(
                f"labels are {','.join(self.labels) or 'empty'}; name each once, and always {LABELS[0]}: the masks"
            )
        if self.assets and "depth" in self.labels:
            raise SimulatorError("nobody knows the depth of photographs and cut-outs; leave depth out of the labels")
        if self.video:
            check_video(self.height, self.width)

    @property
    def case_count(self) -> int:
        """Number of cases."""
        return self.cases or self.clips

    def case_of(self, clip: int) -> int:
        """The case a clip belongs to."""
        return clip % self.case_count

    def profile_of(self, clip: int) -> str:
        """The profile of a clip: that of its case."""
        return self.profiles[self.case_of(clip) % len(self.profiles)]

    def split_of(self, clip: int) -> str:
        """train, val or test: decided by the case."""
        left = self.case_count - self.case_of(clip)
        return "test" if left <= self.test_cases else "val" if left <= self.test_cases + self.val_cases else "train"

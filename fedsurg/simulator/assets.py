"""Pictures that the simulator takes in: photographs of tissue, and instruments cut out of photographs.

They are known by what is in them, never by where they lie: the digest of a folder is the SHA-256 over the sorted names
and bytes of its pictures. Listing a folder is cheap; `check_pictures` decodes everything.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fedsurg.errors import SimulatorError
from fedsurg.files import digest_of

if TYPE_CHECKING:
    from PIL import Image

BACKGROUND_ENDINGS = (".jpg", ".jpeg", ".png")
PARTS_ENDING = ".parts.png"  # NAME.parts.png beside the cut-out NAME.png
UNNAMED = "instrument"  # type of a cut-out that lies in no subfolder


@dataclass(frozen=True)
class Picture:
    """One file: its name below its folder, where it lies, and the SHA-256 (hex) of its bytes."""

    name: str
    path: Path = field(compare=False)
    sha256: str


@dataclass(frozen=True)
class CutOut:
    """An instrument on a transparent ground, and the mask of its parts if there is one."""

    picture: Picture
    parts: Picture | None

    @property
    def kind(self) -> str:
        """Type of the instrument: the subfolder that the cut-out lies in."""
        folder, _, _ = self.picture.name.partition("/")
        return UNNAMED if folder == self.picture.name else folder


@dataclass(frozen=True)
class Assets:
    """The pictures of one rendering; without `backgrounds` tissue is rendered, without `cutouts` instruments are."""

    backgrounds: tuple[Picture, ...] = ()
    cutouts: tuple[CutOut, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.backgrounds or self.cutouts)

    @property
    def without_parts(self) -> CutOut | None:
        """A cut-out whose parts nobody marked."""
        return next((cutout for cutout in self.cutouts if cutout.parts is None), None)

    def digests(self) -> dict[str, str]:
        """SHA-256 (hex) of each folder's content, empty where there is none."""
        files = [file for cutout in self.cutouts for file in (cutout.picture, cutout.parts) if file]
        return {"backgrounds": _digest(self.backgrounds), "instruments": _digest(files)}


RENDERED = Assets()  # no picture is taken in


def read_assets(backgrounds: Path | None = None, instruments: Path | None = None) -> Assets:
    """The pictures in two folders and their subfolders; either may be left out. Nothing is decoded yet.

    Raises:
        SimulatorError: a folder is missing, cannot be read or holds no picture, or a part mask belongs to nothing.
    """
    photographs = () if backgrounds is None else _listed(backgrounds, "background", BACKGROUND_ENDINGS)
    cutouts = () if instruments is None else _cutouts(instruments)
    return Assets(photographs, cutouts)


def check_pictures(assets: Assets, *, whole_instruments: bool) -> None:
    """Decodes everything once, so that a bad file is found before anything is drawn.

    Raises:
        SimulatorError: the first picture that cannot be used, or parts are asked for that nobody marked.
    """
    from fedsurg.simulator.pictures import load_background, load_cutout

    unmarked = assets.without_parts
    if unmarked and not whole_instruments:
        raise SimulatorError(
            f"{unmarked.picture.path}: its parts are not known; ask for whole instruments, or mark them in "
            f"{unmarked.picture.path.with_suffix(PARTS_ENDING).name} beside it (1 shaft, 2 wrist, 3 clasper)"
        )
    for picture in assets.backgrounds:
        load_background(picture)
    for cutout in assets.cutouts:
        load_cutout(cutout)


@contextmanager
def opened(picture: Picture) -> Iterator["Image.Image"]:
    """The decoded file; whatever goes wrong while it is open becomes one SimulatorError.

    Raises:
        SimulatorError: it is gone, is no picture, is damaged, or is not what it was when the rendering began.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        content = picture.path.read_bytes()
        if hashlib.sha256(content).hexdigest() != picture.sha256:
            raise SimulatorError(f"{picture.path}: has changed since the rendering began; run the command again")
        with Image.open(io.BytesIO(content)) as image:
            yield image
    except UnidentifiedImageError:
        raise SimulatorError(f"{picture.path}: is no picture; replace or remove it") from None
    except SimulatorError:
        raise
    except Exception as problem:  # Pillow's decoders raise whatever their format suggests: the file is damaged
        said = str(problem) or type(problem).__name__
        raise SimulatorError(f"{picture.path}: cannot be read ({said}); replace or remove it") from problem


def _cutouts(folder: Path) -> tuple[CutOut, ...]:
    files = {picture.name: picture for picture in _listed(folder, "cut-out", (".png",))}
    masks = {name: files.pop(name) for name in list(files) if name.endswith(PARTS_ENDING)}
    found = tuple(CutOut(file, masks.pop(name[:-4] + PARTS_ENDING, None)) for name, file in files.items())
    if masks:
        lost = next(iter(masks.values()))
        raise SimulatorError(
            f"{lost.path}: marks the parts of no cut-out; put {lost.path.name.removesuffix(PARTS_ENDING)}.png beside "
            "it, or remove it"
        )
    return found


def _listed(folder: Path, what: str, endings: tuple[str, ...]) -> tuple[Picture, ...]:
    """The pictures below `folder`, sorted by name; hidden files and other kinds are passed over."""
    if not folder.is_dir():
        raise SimulatorError(f"{folder}: no such folder; give the folder that holds the {what} pictures")
    try:
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        chosen = sorted(name for name in files if name.lower().endswith(endings) and not _hidden(name))
        found = [Picture(name, files[name], hashlib.sha256(files[name].read_bytes()).hexdigest()) for name in chosen]
    except OSError as problem:
        raise SimulatorError(
            f"{problem.filename or folder}: cannot be read ({problem.strerror or problem}); check its permissions"
        ) from problem
    if not found:
        raise SimulatorError(f"{folder}: holds no {what} picture; put one or more {', '.join(endings)} files there")
    return tuple(found)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _digest(files: "tuple[Picture, ...] | list[Picture]") -> str:
    return digest_of(sorted([file.name, file.sha256] for file in files)) if files else ""

"""The commands `fedsurg simulator ...`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fedsurg.simulator.profiles import PROFILES

if TYPE_CHECKING:
    from fedsurg.simulator.dataset import Progress

LINES_WITHOUT_TERMINAL = 10  # progress lines in a log file


class Size(click.ParamType[tuple[int, int]]):
    """Height x width in pixels, as in 160x192."""

    name = "HEIGHTxWIDTH"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """(height, width)."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d{1,9})[x*](\d{1,9})", value.strip())
        if not found:
            self.fail(f"{value!r} is not a size; give height x width, for example 160x192", param, ctx)
        return int(found[1]), int(found[2])


class Names(click.ParamType[tuple[str, ...]]):
    """Words joined by commas."""

    name = "NAME,NAME"

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The words."""
        return value if isinstance(value, tuple) else tuple(word.strip() for word in value.split(",") if word.strip())


profile_option = click.option(
    "--profile", "profiles", multiple=True, metavar="NAME", help="Anatomy; repeat for several. Default: all."
)
size_option = click.option("--size", type=Size(), default="160x192", show_default=True, help="Height x width.")
labels_option = click.option(
    "--labels",
    type=Names(),
    default="parts",
    show_default=True,
    help="Written beside the pictures: parts, always; instances, depth. Joined by commas.",
)
backgrounds_option = click.option(
    "--backgrounds",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Photographs of tissue (jpg, png) to use instead of rendered tissue.",
)
instruments_option = click.option(
    "--instruments",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Cut-outs of instruments (RGBA png) to use instead of rendered ones.",
)
worn_option = click.option(
    "--worn", is_flag=True, help="A worn camera: bent lens, drops and mist on it, poor recordings."
)
workers_option = click.option("--workers", type=int, help="Processes. Default: one per processor.")


@click.group()
def simulator() -> None:
    """Render labelled synthetic surgery."""


@simulator.command()
@profile_option
@click.option("--clips", type=int, required=True, help="Number of clips.")
@click.option("--frames", type=int, default=8, show_default=True, help="Consecutive frames in each clip.")
@click.option("--seed", type=int, required=True, help="The same seed gives the same bytes.")
@size_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the site data.")
@click.option("--cases", type=int, default=0, help="Deal the clips over this many cases. Default: one each.")
@click.option("--val-cases", type=int, default=0, help="Cases held out for validation.")
@click.option("--test-cases", type=int, default=0, help="Cases held out for the test.")
@click.option("--site", default="synthetic", show_default=True, help="Name of the site in site.toml.")
@click.option("--procedure", default="simulated surgery", show_default=True, help="Its surgery, as a study names it.")
@click.option("--look-seed", type=int, help="One hospital: one camera and makers of instruments for all cases.")
@click.option("--frame-rate", type=float, default=8.0, show_default=True, help="Frames per second.")
@click.option("--whole-instruments", is_flag=True, help="One mask value for all parts of an instrument.")
@labels_option
@backgrounds_option
@instruments_option
@worn_option
@click.option(
    "--video", is_flag=True, help="Write each clip also as H.264 (needs PyAV: pip install '.[video]' in the checkout)."
)
@workers_option
def render(
    profiles: tuple[str, ...],
    clips: int,
    frames: int,
    seed: int,
    size: tuple[int, int],
    out: Path,
    cases: int,
    val_cases: int,
    test_cases: int,
    site: str,
    procedure: str,
    look_seed: int | None,
    frame_rate: float,
    whole_instruments: bool,
    labels: tuple[str, ...],
    backgrounds: Path | None,
    instruments: Path | None,
    worn: bool,
    video: bool,
    workers: int | None,
) -> None:
    """Render clips, masks and a manifest into a folder of site data.

    A rendering that was stopped goes on from its finished clips when the same command is given again.
    """
    from fedsurg.errors import InterruptedRunError
    from fedsurg.simulator.assets import read_assets
    from fedsurg.simulator.dataset import render as render_to
    from fedsurg.simulator.request import RenderRequest

    request = RenderRequest(
        profiles or tuple(PROFILES),
        clips,
        frames,
        seed,
        *size,
        cases=cases,
        val_cases=val_cases,
        test_cases=test_cases,
        site=site,
        procedure=procedure,
        look_seed=look_seed,
        frame_rate_hz=frame_rate,
        whole_instruments=whole_instruments,
        labels=labels,
        worn=worn,
        video=video,
        assets=read_assets(backgrounds, instruments),
    )
    try:
        with _progress("Rendering") as report:
            folder = render_to(request, out, workers=workers, progress=report)
    except KeyboardInterrupt:
        raise InterruptedRunError("stopped; the same command goes on from the clips that are finished") from None
    click.echo(f"{folder}: {clips * frames} frames, digest {request.digest()[:16]}")


@simulator.command("profiles")
def list_profiles() -> None:
    """List the profiles of anatomy."""
    wide = max(len(name) for name in PROFILES)
    for name, profile in PROFILES.items():
        click.echo(f"{name:<{wide}}  {profile.summary}")


@simulator.command()
@profile_option
@click.option("--out", type=click.Path(path_type=Path), default=Path("sheet.png"), show_default=True)
@click.option("--columns", type=click.IntRange(1, 24), default=6, show_default=True, help="Pictures in a row.")
@click.option("--seed", type=int, default=0, show_default=True)
@size_option
@backgrounds_option
@instruments_option
@click.option(
    "--beside",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Site data: some of its frames become the last row. The sheet is then as private as they are.",
)
@worn_option
@click.option(
    "--seconds",
    type=click.FloatRange(0.01, 3600),
    help="A row shows one clip of so many seconds, evenly. Default: the beginnings of several cases.",
)
@workers_option
def preview(
    profiles: tuple[str, ...],
    out: Path,
    columns: int,
    seed: int,
    size: tuple[int, int],
    backgrounds: Path | None,
    instruments: Path | None,
    beside: Path | None,
    worn: bool,
    seconds: float | None,
    workers: int | None,
) -> None:
    """Draw a contact sheet: one row per profile, instrument parts outlined."""
    from fedsurg.simulator.assets import read_assets
    from fedsurg.simulator.preview import contact_sheet

    names = profiles or tuple(PROFILES)
    assets = read_assets(backgrounds, instruments)
    with _progress("Rendering") as report:
        contact_sheet(
            names,
            out,
            columns=columns,
            seed=seed,
            size=size,
            assets=assets,
            beside=beside,
            worn=worn,
            seconds=seconds,
            workers=workers,
            progress=report,
        )
    rows = [*names, *([f"frames of {beside}"] if beside else [])]
    click.echo(f"{out}: rows {', '.join(rows)}")


@simulator.command()
@click.argument("sites", metavar="SITE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for both kinds of pictures.")
@click.option("--most", type=click.IntRange(min=1), default=60, show_default=True, help="Frames of each site.")
def cutouts(sites: tuple[Path, ...], out: Path, most: int) -> None:
    """Cut instruments and tissue out of the labelled training frames of SITE folders.

    They become pictures for --instruments and --backgrounds. Validation and test cases of the manifest are not
    touched; a study that deals cases over folds, or calls one of the sites unseen, must not be given them. The
    pictures are as private as the frames.

    Example: fedsurg simulator cutouts data/north data/east --out pictures
    """
    from fedsurg.simulator.harvest import harvest

    found = harvest(sites, out, most)
    click.echo(f"{out / 'instruments'}: {found.instruments} cut-outs; {found.passed_over} were of no use")
    click.echo(f"{out / 'backgrounds'}: {found.backgrounds} pictures of tissue")
    click.echo("they are as private as the frames that they are cut from")


@contextlib.contextmanager
def _progress(title: str) -> Iterator[Progress]:
    """A bar with the time left on a terminal, about ten plain lines elsewhere; both on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(title)
        return
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn("frames"), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_lines(title: str) -> Progress:
    shown = -1

    def report(done: int, total: int) -> None:
        nonlocal shown
        tenth = done * LINES_WITHOUT_TERMINAL // max(total, 1)
        if tenth > shown:
            shown = tenth
            click.echo(f"{title}: {done} of {total} frames", err=True)

    return report

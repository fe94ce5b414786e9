"""`fedsurg pretrain`: the start of a study as a file that other studies begin from."""

import shlex
from pathlib import Path

import click

from simulations.cli import default_cache, settings_of

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("study_file", metavar="STUDY.toml", type=_PATH)
@click.option("--out", type=_PATH, required=True, help="File to write: float16 safetensors.")
@click.option("--card", type=_PATH, help="Model card to write; default: beside --out, ending in .md.")
@click.option("--data", type=_PATH, help="Score the start on real sites: folder that holds one data folder per site.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Instead of any key of the study; repeat.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option("--cache", type=_PATH, help="Rendered video and starts; default: $FEDSURG_CACHE or ~/.cache/fedsurg.")
def pretrain(
    study_file: Path,
    out: Path,
    card: Path | None,
    data: Path | None,
    settings: tuple[str, ...],
    device: str,
    cache: Path | None,
) -> None:
    """Train the start of STUDY.toml on synthetic video alone and write it to a file with a model card.

    It begins at random weights, or at the start file that the study names, for server.pretrain.further_steps.

    A study begins from the file with server.pretrain.start = "FILE"; its SHA-256 is then part of the study. Stopped,
    the same command goes on where it was; on the same machine it gives the same bytes.

    Example: fedsurg pretrain studies/start.toml --out start.safetensors
    """
    from rich.console import Console

    from fedsurg.errors import InterruptedRunError, RunError
    from fedsurg.files import require_writable
    from fedsurg.report.redaction import setting_without_place
    from fedsurg.study_file.load import load_study
    from simulations.progress import Progress
    from simulations.start_file import make_file

    require_writable(out)  # before a card is named after it
    if study_file.resolve() in (out.resolve(), card.resolve() if card else out.resolve()):
        raise RunError(f"{study_file}: is the study, and would be replaced; give --out and --card other names")
    study = load_study(study_file, overrides=settings_of(settings))
    shown = [setting_without_place(one) for one in settings]  # the card travels, so it names no place on this machine
    words = ["fedsurg", "pretrain", _shown(study_file), *(word for one in shown for word in ("--set", one))]
    command = shlex.join([*words, "--out", _shown(out)])
    console = Console()
    try:
        with Progress(console) as progress:
            digest = make_file(
                study,
                out,
                card or out.with_suffix(".md"),
                command,
                data=data,
                device=device,
                cache=cache or default_cache(),
                progress=progress,
            )
    except KeyboardInterrupt:
        raise InterruptedRunError("stopped; what is finished is kept, give the same command to go on") from None
    console.print(
        f"{out}: {out.stat().st_size / 1e6:.2f} MB, SHA-256 {digest}", highlight=False, markup=False, soft_wrap=True
    )


def _shown(path: Path) -> str:
    """A path below the working directory as it is, of any other its name."""
    return path.name if path.is_absolute() or ".." in path.parts else str(path)

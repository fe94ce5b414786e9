"""`fedsurg study text-vectors`: make the file of text vectors that sites use without a text encoder."""

from pathlib import Path

import click


@click.command("text-vectors")
@click.argument("studies", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--prompts",
    "listed",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text file with one prompt per line, in place of or beside study files.",
)
@click.option("--model", default="", help="Local directory or hub name of a sentence encoder.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
def text_vectors(studies: tuple[Path, ...], listed: tuple[Path, ...], model: str, out: Path) -> None:
    """Compute the text vectors of the sites in STUDIES and write them to one small file.

    A study uses the file with network.gate.text_model = "FILE". The prompts of fedsurg's own studies are
    shipped and need no file.
    """
    from fedsurg.models.text import fill_prompt, write_vectors
    from fedsurg.study_file.load import load_study

    prompts = [line.strip() for path in listed for line in _text_of(path).splitlines()]
    for study in (load_study(path, with_files=False) for path in studies):
        prompts += [fill_prompt(study.network.gate.prompt, site.name, site.procedure) for site in study.sites]
    count = write_vectors(filter(None, prompts), out, model=model)
    click.echo(f"{out}: {count} text vectors")


def _text_of(path: Path) -> str:
    from fedsurg.errors import NetworkError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise NetworkError(f"{path}: cannot be read as text ({problem}); give it in UTF-8") from problem

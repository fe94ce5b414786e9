"""`fedsurg study`: what a study is before anyone runs it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedsurg.cli.text_vectors import text_vectors

if TYPE_CHECKING:
    from rich.console import Console

    from fedsurg.sharing.contract import Contract


@click.group()
def study() -> None:
    """Show a study: digest, sharing contract, bytes."""


study.add_command(text_vectors)


@study.command()
@click.argument("study_file", metavar="STUDY.toml", type=click.Path(path_type=Path))
@click.option("--method", help="Whose contract to show; default: the study's first method.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def show(study_file: Path, method: str | None, as_json: bool) -> None:
    """The resolved study, its digest, the sharing contract and the bytes of a round.

    Example: fedsurg study show studies/fedst.toml --json
    """
    from fedsurg.errors import StudyError
    from fedsurg.methods.facts import facts_of
    from fedsurg.methods.registry import METHODS
    from fedsurg.study_file.load import load_study

    found = load_study(study_file)
    name = method or found.methods[0]
    if name not in METHODS:
        raise StudyError(f"--method {name!r} is unknown; known: {', '.join(sorted(METHODS))}")
    facts, contract = facts_of(found, name)
    if as_json:
        click.echo(json.dumps(facts | {"study": found.resolved(), "contract": contract.rows()}, indent=2))
    else:
        from rich.console import Console

        _print(facts, contract, Console())


def _print(facts: dict[str, Any], contract: "Contract", console: "Console") -> None:
    from rich.table import Table

    from fedsurg.report.wording import size

    console.print(f"[bold]{facts['name']}[/] under [bold]{facts['method']}[/]")
    console.print(f"digest           {facts['digest']}", highlight=False, soft_wrap=True)
    sent = facts["bytes_per_round"]
    console.print(f"a round sends    {size(sent)} ({sent / 2**20:.2f} MiB), one site, one direction", highlight=False)
    table = Table("part", "scope", "tensors", "parameters", "on the wire", box=None, pad_edge=False)
    groups: dict[tuple[str, str], list[int]] = {}
    for entry in contract.entries:
        groups.setdefault((entry.part, entry.scope), []).append(entry.values)
    for (part, scope), values in groups.items():
        wire = size(4 * sum(values)) if scope == "shared" else "never leaves"
        table.add_row(part, scope, f"{len(values)}", f"{sum(values):,}", wire)
    console.print(table)
    if facts["own_model"]:
        console.print("beside it, a site keeps a model of its own, of the whole network; it never leaves")

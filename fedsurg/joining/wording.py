"""What both ends say in the same words."""

import textwrap

import click


def echo_fingerprint(of: str, value: str) -> None:
    """A fingerprint as people read it out: sixteen groups of four, in two lines."""
    groups = textwrap.wrap(value, 4)
    click.echo(f"SHA-256 fingerprint ({of}):")
    click.echo(f"    {' '.join(groups[:8])}\n    {' '.join(groups[8:])}")

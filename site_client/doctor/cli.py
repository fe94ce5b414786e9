"""The command `fedsurg site doctor`."""

import json
from pathlib import Path

import click

from site_client.options import in_folder


@click.command(epilog="Example: fedsurg site doctor --dir site")
@in_folder
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(folder: Path, as_json: bool) -> int:
    """Is this site ready to take part? One line per check: ok, or what to do. Nothing is changed.

    Exit code 0: all is ok. 1: something is to be done. 4: the folder is no site's, or others may enter it.
    """
    from dataclasses import asdict

    from site_client.doctor import CHECKS, examine

    findings = []
    for finding in examine(folder, CHECKS):
        findings.append(finding)
        if not as_json:
            click.echo(str(finding))
    open_ones = sum(not finding.ok for finding in findings)
    if as_json:
        click.echo(json.dumps({"ok": not open_ones, "checks": [asdict(finding) for finding in findings]}, indent=2))
    else:
        click.echo(f"{open_ones} of {len(findings)} to do" if open_ones else f"all {len(findings)} ok")
    return int(bool(open_ones))

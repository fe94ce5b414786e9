"""What the documents show is true: commands and their options exist, links resolve, examples work."""

import csv
import importlib.util
import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from fedsurg.cli.main import fedsurg
from fedsurg.data.check import check_site
from fedsurg.sharing import protocol
from fedsurg.study_file import load_study
from fedsurg.study_file.load import parse_study
from fedsurg.study_file.simulated import check_server_video

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def commands(page: Path, program: str) -> list[list[str]]:
    """The words of every command line for `program` in a page, without comments and prompts."""
    lines = "".join(blocks(page, "", "sh", "bash", "console")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if program in line]
    return [found[1:] for found in words if found and found[0].rpartition("/")[2] == program]


def prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get on the usual hosts."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in _HEADING.findall(prose(page))
    }


def test_the_study_reference_is_up_to_date() -> None:
    path = ROOT / "docs" / "make_study_reference.py"
    specification = importlib.util.spec_from_file_location("make_study_reference", path)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert (ROOT / "docs" / "study.md").read_text(encoding="utf-8") == module.reference(), (
        f"run .venv/bin/python {name_of(path)} and commit docs/study.md"
    )


def test_the_shortest_study_is_one_whose_video_can_be_drawn() -> None:
    (text,) = blocks(ROOT / "docs" / "study.md", "toml")
    check_server_video(parse_study(text, "study.md"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    broken = []
    for link in _LINK.findall(prose(page)):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist_with_their_options(page: Path) -> None:
    for words in commands(page, "fedsurg"):
        shown = shlex.join(["fedsurg", *words])
        command: click.Command = fedsurg
        context = click.Context(command)
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            inner = command.get_command(context, words.pop(0))
            assert inner, f"{shown}: no such command"
            command = inner
        known = {"--help", "-h"} | {name for option in command.params for name in option.opts}
        unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in known]
        assert not unknown, f"{shown}: no such option"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = {word for words in commands(page, "make") for word in words if re.fullmatch(r"[a-z]+", word)}
    assert shown <= targets


@pytest.mark.parametrize("page", [ROOT / "README.md"], ids=name_of)
def test_the_readme_begins_with_the_demo_and_the_tests(page: Path) -> None:
    assert blocks(page, "")[0].split("\n")[:2] == ["make demo", "make test"]


def test_the_readme_lists_every_method() -> None:
    from fedsurg.methods.registry import METHODS

    table = re.search(r"^\| method \|.*?\n\n", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert table
    assert re.findall(r"^\| `([\w-]+)`", table[0], re.M) == list(METHODS)


def test_the_site_data_example_passes_the_check(tmp_path: Path) -> None:
    page = ROOT / "docs" / "site-data.md"
    site_toml, manifest = blocks(page, "toml")[0], blocks(page, "csv")[0]
    write_site(tmp_path, site_toml, manifest)
    for task in (None, load_study(ROOT / "studies" / "fedst.toml").task):
        report = check_site(tmp_path, task)
        assert (report.problems, report.warnings) == ((), ())
        assert report.labels == ("background", "shaft", "wrist", "clasper")


def test_the_whole_instrument_example_fits_a_study_of_parts(tmp_path: Path) -> None:
    page = ROOT / "docs" / "site-data.md"
    head = 'name = "whole"\nprocedure = "any"\nframe_rate_hz = 25\n'
    write_site(tmp_path, head + blocks(page, "toml")[1], blocks(page, "csv")[0])
    report = check_site(tmp_path, load_study(ROOT / "studies" / "fedst.toml").task)
    assert (report.problems, report.warnings) == ((), ())
    assert report.labels == ("background", "instrument")


def test_the_privacy_page_names_every_record_and_counts_the_numbers() -> None:
    text = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
    for record in (protocol.UPDATE, protocol.LAYOUT, protocol.REQUEST, protocol.REPORT, protocol.ORIGIN, protocol.HEAD):
        assert f"`{record}`" in text
    assert f"{len(fields(protocol.Report))} numbers" in text


def write_site(folder: Path, site_toml: str, manifest: str) -> None:
    """The files of an example: pictures that all differ, masks with every value of `site.toml`."""
    (folder / "site.toml").write_text(site_toml, encoding="utf-8")
    (folder / "manifest.csv").write_text(manifest, encoding="utf-8")
    site = tomllib.loads(site_toml)
    groups = [*site["mask_values"].values(), site.get("ignore_values", [])]
    values = [value for group in groups for value in (group if isinstance(group, list) else [group])]
    mask = np.resize(np.repeat(np.array(values, np.uint8), 16), (24, 32))
    for number, row in enumerate(csv.DictReader(manifest.splitlines())):
        for column, pixels in (("image", np.full((24, 32, 3), number, np.uint8)), ("mask", mask)):
            (folder / row[column]).parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / row[column])

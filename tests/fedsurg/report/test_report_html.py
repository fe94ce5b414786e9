"""The HTML reports: complete, self-contained, and the shareable one free of anything of a patient."""

import base64
import io
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from PIL import Image

from fedsurg.errors import RunError
from fedsurg.report.html import FULL, SHAREABLE, write_report
from fedsurg.report.redaction import redacted
from fedsurg.report.run_folder import Run
from fedsurg.report.tables import site_table

RunMaker = Callable[..., Path]
SECRET_CASE = "PAT-4711"  # what the fixture calls the cases of real sites
SECRET_PATH = "/srv/hospital/videos"  # where it says that they lie

VOID = {"meta", "img", "br", "path", "use"}
Attributes = list[tuple[str, str | None]]


class Page(HTMLParser):
    """Collects every tag with its attributes, and checks that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Attributes) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def pages(finished_run: Path) -> dict[str, str]:
    """Both reports of the finished run."""
    assert write_report(finished_run) == finished_run / FULL
    return {name: (finished_run / name).read_text(encoding="utf-8") for name in (FULL, SHAREABLE)}


@pytest.mark.parametrize("name", [FULL, SHAREABLE])
def test_nothing_is_fetched(pages: dict[str, str], name: str) -> None:
    page = Page(pages[name])
    assert page.open == []
    assert not {tag for tag, _ in page.tags} & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "image",
        "form",
    }
    for _, attributes in page.tags:
        assert attributes.get("src", "data:").startswith("data:image/jpeg;base64,") or "src" not in attributes
        for key in ("href", "xlink:href"):
            assert attributes.get(key, "#").startswith("#")
    assert not re.search(r"https?://|//\w|@import|url\((?!#)", re.sub(r"base64,[^\"]*", "", pages[name]))
    assert "default-src 'none'" in pages[name]


@pytest.mark.parametrize("name", [FULL, SHAREABLE])
def test_every_section_is_there(pages: dict[str, str], name: str) -> None:
    for heading in (
        "How well it segments",
        "What it sees",
        "How it learned",
        "What leaves a site",
        "How to repeat it",
    ):
        assert f"<h2>{heading}</h2>" in pages[name]
    for part in (
        "FedST",
        "harbour",
        "20.33 MB",
        "decoder.blocks.0.weight",
        "torch 2.15.0",
        "local.steps",
        "refused",
    ):
        assert part in pages[name]
    assert pages[name].count("<svg") == 3
    assert not re.search(r"#f[de]0[01]", pages[name])  # a placeholder colour that the page would not know
    assert "nan" not in re.sub(r"base64,[^\"]*", "", pages[name]).lower().replace("finance", "")


def test_no_id_appears_twice(pages: dict[str, str]) -> None:
    ids = [attributes["id"] for _, attributes in Page(pages[FULL]).tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_full_report_warns_that_it_stays(pages: dict[str, str]) -> None:
    assert "Contains frames and case names: stays where the data is." in pages[FULL]
    assert "stays where the data is" not in pages[SHAREABLE]
    assert SECRET_CASE in pages[FULL]
    assert SECRET_PATH in pages[FULL]


def test_a_simulated_run_needs_no_warning_and_the_same_run_gives_the_same_bytes(run_maker: RunMaker) -> None:
    path = run_maker(methods=("fedst",), folds=0, rounds=1, real_sites=())
    first = write_report(path).read_bytes()
    assert b"stays where the data is" not in first
    assert write_report(path).read_bytes() == first


@pytest.mark.usefixtures("pages")
def test_the_shareable_bytes_hold_nothing_of_a_patient(finished_run: Path) -> None:
    shareable = (finished_run / SHAREABLE).read_bytes()
    run = Run.read(finished_run)
    secrets = {SECRET_CASE, SECRET_PATH, "encoder.safetensors", "0007.png", "-case-", str(finished_run)}
    secrets |= set(run.scores["case"]) | {str(finished_run.parent), "fedsurg compare"}
    for secret in secrets:
        assert secret.encode() not in shareable, secret


def test_no_picture_of_a_real_site_is_shared(pages: dict[str, str]) -> None:
    alternatives = [attributes["alt"] for tag, attributes in Page(pages[SHAREABLE]).tags if tag == "img"]
    assert len(alternatives) == 8  # three methods at two simulated sites, two at the unseen one
    assert not [text for text in alternatives if "valley" in text]
    whole = [attributes["alt"] for tag, attributes in Page(pages[FULL]).tags if tag == "img"]
    assert len([text for text in whole if "valley" in text]) == 3


def test_methods_stand_side_by_side_on_the_same_frame_whatever_their_models_are_called(run_maker: RunMaker) -> None:
    path = run_maker(methods=("fedst", "local"), folds=0, rounds=1)  # whose pictures have other names here
    write_report(path)
    rows = (path / FULL).read_text().split('<div class="frames"')[1:]
    assert [re.findall(r'alt="Prediction of (\w+) at (\w+)', row) for row in rows[:-1]] == [
        [("FedST", site), ("Local", site)] for site in ("harbour", "north", "valley")
    ]
    assert "FedST</span>, global" in rows[-1] and ", personal" not in "".join(
        rows
    )  # told apart where there are several


def test_a_picture_needs_both_the_run_and_itself_to_say_simulated(run_maker: RunMaker) -> None:
    path = run_maker(methods=("fedst",), folds=0, rounds=1)
    entries = path / "runs" / "fedst" / "overlays" / "overlays.json"
    entries.write_text(entries.read_text().replace('"simulated": false', '"simulated": true'))
    sites = {picture.site for one in redacted(Run.read(path)).runs for picture in one.overlays}
    assert sites == {"north", "harbour", "island"}  # run.json knows that valley is real


def test_remarks_in_a_picture_file_are_not_carried_on(run_maker: RunMaker) -> None:
    from PIL.PngImagePlugin import PngInfo

    path = run_maker(methods=("fedst",), folds=0, rounds=1)
    file = next((path / "runs" / "fedst" / "overlays").glob("north*.png"))
    remark = PngInfo()
    remark.add_text("source", SECRET_PATH)
    Image.open(file).save(file, pnginfo=remark)
    write_report(path)
    for encoded in re.findall(r"base64,([^\"]*)", (path / SHAREABLE).read_text()):
        data = base64.b64decode(encoded)
        assert SECRET_PATH.encode() not in data
        assert Image.open(io.BytesIO(data)).size == (320, 256)


def test_both_reports_show_the_same_numbers(finished_run: Path) -> None:
    run = Run.read(finished_run)
    assert_frame_equal(site_table(run), site_table(redacted(run)))


def test_names_are_escaped(run_maker: RunMaker) -> None:
    path = run_maker(methods=("fedst",), folds=0, rounds=2)
    for file in (path / "run.json", *(path / "runs" / "fedst").glob("*.*")):
        file.write_text(file.read_text().replace("harbour", "<b>$x$&"))
    page = write_report(path).read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;$x$&amp;" in page
    assert Page(page).open == []


@pytest.mark.parametrize("methods", [(), ("fedst", "local")])
def test_a_half_finished_run_has_a_report(run_maker: RunMaker, methods: tuple[str, ...]) -> None:
    path = run_maker(methods=methods, finished=False, rounds=3)
    page = write_report(path).read_text()
    assert "not finished" in page
    assert "How well it segments" not in page
    assert ("How it learned" in page) == bool(methods)


def test_a_missing_picture_is_named(run_maker: RunMaker) -> None:
    path = run_maker(methods=("fedst",), folds=0, rounds=1)
    next((path / "runs" / "fedst" / "overlays").glob("north*.png")).unlink()
    with pytest.raises(
        RunError, match=r"north-case-0-personal-a-0\.png: is listed in overlays\.json, but cannot be read"
    ):
        write_report(path)
    assert not (path / FULL).exists()


def test_the_upper_bound_does_not_compete(run_maker: RunMaker) -> None:
    """Its scores are those of the best method and more, and none of its cells is bold."""
    path = run_maker(methods=("fedst", "fedavg", "local"), folds=0, rounds=1)
    (path / "runs" / "local").rename(path / "runs" / "central")
    scores = path / "runs" / "fedst" / "scores.csv"
    best = pd.read_csv(scores, dtype=str).assign(method="central", iou="1.0", dice="1.0")
    best.to_csv(path / "runs" / "central" / "scores.csv", index=False)
    page = write_report(path).read_text(encoding="utf-8")
    assert "Central, the upper bound, does not compete" in page
    rows = re.findall(r"<tr>.*?</tr>", page, re.DOTALL)
    of = {
        name: [row for row in rows if f"</i>{name}</span>" in row and 'class="n' in row]
        for name in ("Central", "FedST")
    }
    assert all(len(found) >= 2 for found in of.values())
    assert not any(" best" in row for row in of["Central"])
    assert any(" best" in row for row in of["FedST"])
    shutil.rmtree(path / "runs" / "fedavg")  # beside the upper bound alone, FedST is best of nothing
    page = write_report(path).read_text(encoding="utf-8")
    assert 'class="n best' not in page and "Bold:" not in page


def test_what_is_printed_alike_is_marked_alike(run_maker: RunMaker) -> None:
    """FedAvg's scores are FedST's, but for less than a tenth of a per cent: the same cells of both are bold."""
    path = run_maker(methods=("fedst", "fedavg"), folds=0, rounds=1)
    scores = pd.read_csv(path / "runs" / "fedst" / "scores.csv").assign(iou=0.7312, dice=0.81)
    scores.to_csv(path / "runs" / "fedst" / "scores.csv", index=False)
    other = scores.assign(method="fedavg", iou=0.7308)
    other.to_csv(path / "runs" / "fedavg" / "scores.csv", index=False)
    page = write_report(path).read_text(encoding="utf-8")
    table = re.findall(r'<table class="scores">.*?</table>', page, re.DOTALL)[0]
    marks = re.findall(r'<td class="n([^"]*)">73\.1', table)
    assert len(marks) > 4
    assert all("best" in mark or "edge" in mark for mark in marks)  # the edge is the worst site, where none is bold


def test_a_site_at_which_nobody_has_a_value_has_no_best(run_maker: RunMaker) -> None:
    path = run_maker(methods=("fedst", "fedavg"), folds=0, rounds=1)
    for method in ("fedst", "fedavg"):
        file = path / "runs" / method / "scores.csv"
        scores = pd.read_csv(file)
        scores.loc[scores["site"].isin(["north", "island"]), ["iou", "dice"]] = float("nan")
        scores.to_csv(file, index=False)
    page = write_report(path).read_text(encoding="utf-8")
    marks = re.findall(r'<td class="n([^"]*)">(\S)', page)
    assert any(not first.isdigit() for _, first in marks)
    assert all(first.isdigit() for mark, first in marks if "best" in mark)
    assert any("best" in mark for mark, _ in marks)

"""A study whose synthetic video is made with pictures: their content is part of the digest, their place is not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedsurg.errors import StudyError
from fedsurg.study import Study, study_digest
from fedsurg.study_file.load import changed, parse_study

TEXT = """
name = "trial"
[[sites]]
name = "north"
procedure = "laparoscopic cholecystectomy"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tissue").mkdir()
    Image.new("RGB", (40, 30), (200, 90, 80)).save(tmp_path / "tissue/a.png")
    return tmp_path / "tissue"


def parse(**synthetic: Any) -> Study:
    return parse_study(TEXT, "trial.toml", overrides={f"synthetic.{key}": value for key, value in synthetic.items()})


def test_the_digest_is_that_of_the_pictures_not_of_their_place(folder: Path) -> None:
    one = parse(backgrounds=str(folder))
    assert one.synthetic.backgrounds_sha256 and not one.synthetic.instruments_sha256
    two = parse(backgrounds=str(folder.rename(folder.with_name("moved"))))
    assert study_digest(one) == study_digest(two) != study_digest(parse())
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(folder.with_name("moved") / "a.png")
    assert study_digest(parse(backgrounds=two.synthetic.backgrounds)) != study_digest(two)


def test_a_pinned_digest_is_checked(folder: Path) -> None:
    digest = parse(backgrounds=str(folder)).synthetic.backgrounds_sha256
    parse(backgrounds=str(folder), backgrounds_sha256=digest)
    with pytest.raises(StudyError, match=r"synthetic.backgrounds: .*tissue holds pictures with .* asks for 0000"):
        parse(backgrounds=str(folder), backgrounds_sha256="0" * 64)
    with pytest.raises(StudyError, match=r"synthetic.instruments_sha256: is set, but synthetic.instruments is empty"):
        parse(instruments_sha256=digest)


def test_a_folder_without_pictures_is_refused(folder: Path) -> None:
    with pytest.raises(StudyError, match=r"trial.toml: \[synthetic\]: gone: no such folder"):
        parse(backgrounds="gone")
    with pytest.raises(StudyError, match=r"none: no such folder; give the folder that holds the cut-out"):
        parse(instruments=str(folder.with_name("none")))


def test_a_changed_study_looks_again_only_at_other_folders(folder: Path) -> None:
    study = parse(backgrounds=str(folder))
    moved = folder.rename(folder.with_name("moved"))
    assert changed(study, {"seed": 9}).synthetic == study.synthetic
    (moved / "b.png").write_bytes((moved / "a.png").read_bytes())
    other = changed(study, {"synthetic.backgrounds": str(moved)})
    assert other.synthetic.backgrounds_sha256 not in ("", study.synthetic.backgrounds_sha256)
    assert changed(study, {"synthetic.backgrounds": ""}).synthetic == parse().synthetic
    with pytest.raises(StudyError, match="gone: no such folder"):
        changed(study, {"synthetic.backgrounds": "gone"})


def test_the_request_carries_the_pictures(folder: Path) -> None:
    from fedsurg.simulator.of_study import synthetic_request

    study = parse(backgrounds=str(folder), whole_instruments=True)
    request = synthetic_request(study)
    assert request.assets.digests()["backgrounds"] == study.synthetic.backgrounds_sha256
    assert request.whole_instruments
    assert request.digest() != synthetic_request(parse(whole_instruments=True)).digest()

"""`fedsurg study show`: what a hospital reads before it agrees."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fedsurg.cli.main import fedsurg
from fedsurg.errors import NetworkError, StudyError

PAPER = Path(__file__).parents[3] / "studies" / "fedst.toml"


def show(*arguments: str) -> Result:
    return CliRunner().invoke(fedsurg, ["study", "show", *arguments], catch_exceptions=False)


@pytest.fixture
def study_file(tmp_path: Path, tiny_text: str) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(tiny_text)
    return str(path)


@pytest.fixture(scope="module")
def paper() -> dict[str, object]:
    shown: dict[str, object] = json.loads(show(str(PAPER), "--method", "fedst", "--json").output)
    return shown


def test_must_hold_1_the_counts_of_the_paper_size_network(paper: dict[str, dict[str, int]]) -> None:
    parameters = paper["parameters"]
    assert (parameters["encoder"], parameters["decoder"], parameters["head"]) == (3_409_760, 1_755_904, 516)
    assert sum(parameters[part] for part in ("encoder", "decoder", "head")) == 5_166_180
    assert parameters["temporal"] == 109_312
    assert paper["scopes"]["site"] == 193_536 + parameters["gate"] + parameters["adapters"]


def test_scopes_add_up_to_the_parameters(paper: dict[str, dict[str, int]]) -> None:
    assert set(paper["parameters"]) == {"encoder", "temporal", "gate", "adapters", "decoder", "head"}
    assert set(paper["scopes"]) == {"shared", "site", "frozen"}
    assert sum(paper["scopes"].values()) == sum(paper["parameters"].values())
    assert paper["bytes_per_round"] == 4 * paper["scopes"]["shared"]


def test_keys_and_contract(study_file: str) -> None:
    found = json.loads(show(study_file, "--json").output)
    assert {"name", "digest", "method", "parameters", "scopes", "bytes_per_round", "study", "contract"} <= set(found)
    assert found["method"] == "fedst"
    assert found["study"]["federation"]["rounds"] == 2
    shared = [row for row in found["contract"] if row["scope"] == "shared"]
    assert sum(row["bytes"] for row in shared) == found["bytes_per_round"]


def test_a_method_without_a_gate_needs_no_text_vectors(study_file: str) -> None:
    text = Path(study_file).read_text()
    Path(study_file).write_text(text.replace('text = "onehot"', 'text = "sentence"\nprompt = "{ward}"'))
    with pytest.raises(NetworkError, match="ward"):
        show(study_file, "--method", "fedst")
    assert show(study_file, "--method", "fedavg").exit_code == 0


@pytest.mark.parametrize(("method", "shared"), [("local", False), ("fedavg", True)])
def test_all_or_nothing_is_shared(study_file: str, method: str, shared: bool) -> None:
    found = json.loads(show(study_file, "--method", method, "--json").output)
    total = sum(found["parameters"].values())
    assert found["scopes"] == {"shared": total * shared, "site": total * (not shared), "frozen": 0}
    assert found["parameters"]["gate"] == found["parameters"]["adapters"] == 0


def test_tables_for_people(study_file: str) -> None:
    text = show(study_file).output
    assert "tiny under fedst" in text
    assert "never leaves" in text
    assert "MiB), one site, one direction" in text


def test_a_model_of_the_sites_own_is_named(study_file: str) -> None:
    assert "a site keeps a model of its own" in show(study_file, "--method", "ditto").output
    assert "model of its own" not in show(study_file, "--method", "fedavg").output


def test_an_unknown_method(study_file: str) -> None:
    with pytest.raises(StudyError, match=r"--method 'magic' is unknown; known: central, ditto, fedavg"):
        show(study_file, "--method", "magic")

"""A study file is checked once; every mistake names its file, key, what was found and what is allowed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedsurg.errors import StudyError
from fedsurg.study import Study, study_digest
from fedsurg.study_file import load_study
from fedsurg.study_file.load import changed, parse_study
from fedsurg.study_file.paths import with_absolute_paths

SITES = """
[[sites]]
name = "north"
procedure = "laparoscopic cholecystectomy"
[[sites]]
name = "south"
procedure = "robotic partial nephrectomy"
"""
HEAD = 'name = "trial"\nseed = 7\n'
PARTS = ["background", "shaft", "wrist", "clasper"]
SHARED = ("encoder", "query", "temporal", "decoder", "head")  # parts that every method's network has


def parse(head: str = HEAD, tables: str = "", sites: str = SITES, **overrides: Any) -> Study:
    return parse_study(
        head + tables + sites, "trial.toml", overrides={k.replace("__", "."): overrides[k] for k in overrides}
    )


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[3] / "studies").glob("*.toml")), ids=lambda path: path.name
)
def test_every_shipped_study_is_valid(file: Path) -> None:
    assert load_study(file).name == file.stem


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "trial.toml"
    path.write_text(HEAD + SITES)
    study = load_study(path, overrides={"federation.rounds": 3})
    assert (study.name, study.seed, study.federation.rounds) == ("trial", 7, 3)
    assert [site.name for site in study.federated] == ["north", "south"]
    assert study.quorum == 2


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            "[federation]\nround = 3",
            r"federation\.round: unknown key; did you mean 'rounds'\? allowed here: deadline_s,",
        ),
        ("[learning]\nrate = 1", r"learning: unknown key; .*allowed here: adaptation, evaluation, federation, local,"),
        ("[local.augmentation]\nflips = true", r"local\.augmentation\.flips: unknown key; did you mean 'flip'\?"),
        ("[federation]\nrounds = '3'", r"federation\.rounds: found '3'; input should be a valid integer"),
        ("[federation]\nrounds = 2.5", r"federation\.rounds: found 2\.5; input should be a valid integer"),
        ("[federation]\nrounds = true", r"federation\.rounds: found True; input should be a valid integer"),
        ("[federation]\nrounds = 0", r"federation\.rounds: found 0; input should be greater than 0"),
        ("[federation]\nrounds = 1979-05-27", r"federation\.rounds: found '1979-05-27'; input should be a valid int"),
        (
            "[federation]\nweights = 'equal'",
            r"federation\.weights: found 'equal'; input should be 'uniform' or 'samples'",
        ),
        ("[federation]\ndeadline_s = inf", r"federation\.deadline_s: found inf; input should be a finite number"),
        ("[local]\nlearning_rate = nan", r"local\.learning_rate: found nan; input should be a finite number"),
        ("[federation]\nquorum = 3", r"federation\.quorum is 3, but only 2 sites are federated"),
        ("[federation]\nquorum = -1", r"federation\.quorum: found -1; input should be greater than or equal to 0"),
        ("[task]\nclasses = ['a', 'a']", r"task: classes must be two or more different names, got \['a', 'a'\]"),
        ("[task]\nincludes = {x = ['y']}", r"task: includes names \['x'\], which are no classes of"),
        (
            "[task]\nimage_size = [16, 64]",
            r"task\.image_size\.0: found 16; input should be greater than or equal to 32",
        ),
        (
            "[task]\nclasses = ['tissue', 'shaft', 'wrist']\nincludes = {shaft = ['tube'], wrist = ['tube']}",
            r"task: includes lists \['tube'\] twice, or as part of a class of that name; a part has one class",
        ),
        ("[network.temporal]\npooling = []", r"network\.temporal\.pooling: found \[\]; "),
        ("[network.adapters]\ntargets = []", r"network\.adapters\.targets: found \[\]; "),
        (
            "[federation]\nminimum_samples = 3\nmax_samples = 2",
            r"federation: minimum_samples \(3\) is above max_samples \(2\)",
        ),
        ("[network.temporal]\nchannels = 66", r"network\.temporal: channels \(66\) must be a multiple of heads \(4\)"),
        ("[sharing]\nneck = 'site'", r"sharing\.neck.*: found 'neck'; input should be 'encoder', 'query'"),
        (
            "[sharing]\nquery = 'secret'",
            r"sharing\.query: found 'secret'; input should be 'shared', 'site' or 'frozen'",
        ),
        (
            "[evaluation]\nconfidence = 5",
            r"evaluation: confidence is 5, but there is one size to trust in scales; give two",
        ),
        ("[local.magnification]\nlargest = 0.5", r"local\.magnification\.largest: found 0\.5; input should be greater"),
        ("[local]\nhead_share = 1.0", r"local\.head_share: found 1\.0; input should be less than 1"),
        ("[synthetic]\nprofiles = ['moon']", r"synthetic\.profiles: 'moon' is unknown; known: .*abdominal"),
        ("[synthetic]\nprofiles = []", r"synthetic\.profiles: is empty; name at least one of .*abdominal"),
        ("federation = 3", r"federation: found 3; "),
    ],
)
def test_one_mistake(tables: str, message: str) -> None:
    with pytest.raises(StudyError, match=rf"^trial\.toml: {message}"):
        parse(tables=tables)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (
            '["fedst", "fedmagic"]',
            r"methods: 'fedmagic' is unknown; known: central, ditto, fedavg, fedavg-own, fedavg-server,",
        ),
        ("[]", "methods: is empty; name at least one of central, ditto, fedavg"),
        (
            '["fedrep"]\nlocal.steps = 1',
            r"local\.steps: is 1, but fedrep trains the head in some steps of a round and the body in others; use 2",
        ),
        ('["local", "fedst", "local"]', "methods: 'local' appears 2 times; keep one"),
        ('"fedst"', r"methods: found 'fedst'; input should be a valid"),
    ],
)
def test_bad_methods(methods: str, message: str) -> None:
    with pytest.raises(StudyError, match=rf"^trial\.toml: {message}"):
        parse(HEAD + f"methods = {methods}\n")


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        (SITES.replace("south", "north"), r"sites: 'north' appears 2 times; site names must differ"),
        (SITES.replace("south", "South Clinic"), r"sites\.1\.name: found 'South Clinic'; string should match"),
        (SITES.replace("south", "../south"), r"sites\.1\.name: found '\.\./south'; string should match"),
        (SITES + "roll = 'unseen'", r"sites\.1\.roll: unknown key; did you mean 'role'\?"),
        (SITES + "role = 'watching'", r"sites\.1\.role: found 'watching'; input should be 'federated' or 'unseen'"),
        (SITES + "simulate = {profiles = ['moon']}", r"sites\[south\]\.simulate\.profiles: 'moon' is unknown"),
        (SITES + "simulate = {cases = 3}", r"sites\.1\.simulate\.profiles: is missing; add it"),
        (
            SITES + "simulate = {profiles = ['eye'], seed = 1}",
            "sites: 'south' and the server's video are drawn from the same seed 1, so they would hold the same cases",
        ),
        (
            SITES.replace('"\n[', "\"\nsimulate = {profiles = ['eye']}\n[") + "simulate = {profiles = ['eye']}",
            "sites: 'south' and 'north' are drawn from the same seed 0",
        ),
        ("", "sites: none is federated; list at least one"),
        (SITES.replace('"\n[', '"\nrole = "unseen"\n[') + 'role = "unseen"', "sites: none is federated"),
    ],
)
def test_bad_sites(sites: str, message: str) -> None:
    with pytest.raises(StudyError, match=rf"^trial\.toml: {message}"):
        parse(sites=sites)


def test_all_mistakes_at_once() -> None:
    with pytest.raises(StudyError, match=r"seed: found 'x'.*; federation\.rounds: found 0;"):
        parse('name = "trial"\nseed = "x"\n', "[federation]\nrounds = 0")


def test_not_toml(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"^trial\.toml: is not valid TOML: .*line 1"):
        parse("name = trial\n")
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match=r"binary\.toml: cannot be read"):
        load_study(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"none\.toml: cannot be read .*give the path of a study file"):
        load_study(tmp_path / "none.toml")
    with pytest.raises(StudyError, match="Is a directory"):
        load_study(tmp_path)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("federation.rounds.x", "cannot be set, as federation.rounds is 5, no table"),
        ("sites.north.role", "cannot be set, as sites is a list, whose entries are changed in the file"),
        ("methods.x", "cannot be set, as methods is a list, whose entries are changed in the file"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(key: str, why: str) -> None:
    with pytest.raises(StudyError, match=rf"trial.toml: {key}: {why}"):
        parse_study(HEAD + 'methods = ["fedst"]\n[federation]\nrounds = 5\n' + SITES, "trial.toml", overrides={key: 1})


def test_encoder_weights_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    one.write_bytes(b"weights")
    two.write_bytes(b"weights")
    studies = [parse(network__encoder_weights=str(file)) for file in (one, two)]
    assert study_digest(studies[0]) == study_digest(studies[1])
    two.write_bytes(b"others")
    other = parse(network__encoder_weights=str(two))
    assert study_digest(other) != study_digest(studies[0])
    assert changed(studies[0], {"network.encoder_weights": str(two)}) == other
    sha256 = studies[0].network.encoder_weights_sha256
    with pytest.raises(StudyError, match=r"two.safetensors has the SHA-256 \w{16}, encoder_weights_sha256 asks for \w"):
        parse(network__encoder_weights=str(two), network__encoder_weights_sha256=sha256)
    with pytest.raises(StudyError, match=r"encoder_weights_sha256: is set, but network.encoder_weights is empty"):
        parse(network__encoder_weights_sha256=sha256)
    assert parse(network__encoder_weights="in1k").network.encoder_weights_sha256 == ""  # a name on a hub


def test_text_vectors_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    one.write_bytes(b"vectors")
    two.write_bytes(b"vectors")
    studies = [parse(network__gate__text_model=str(file)) for file in (one, two)]
    assert study_digest(studies[0]) == study_digest(studies[1]) != study_digest(parse())
    two.write_bytes(b"others")
    assert study_digest(changed(studies[0], {"network.gate.text_model": str(two)})) != study_digest(studies[0])
    assert parse(network__gate__text_model="some/encoder").network.gate.text_model_sha256 == ""


def test_paths_hold_in_another_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("start.safetensors", "vectors.safetensors", "shipped"):
        (tmp_path / name).write_bytes(b"values")
    study = parse(
        server__pretrain__start="start.safetensors",
        network__gate__text_model="~/vectors.safetensors",
        network__encoder_weights="in1k",
    )
    whole = with_absolute_paths(study)
    assert whole.server.pretrain.start == str(tmp_path / "start.safetensors")
    assert whole.network.gate.text_model == str(tmp_path / "vectors.safetensors")
    assert whole.network.encoder_weights == "in1k"
    (tmp_path / "in1k").mkdir()  # a folder that is called like a name on a hub
    (tmp_path / "encoder").mkdir()
    folders = parse(network__encoder_weights="in1k", network__gate__text_model="encoder")
    assert with_absolute_paths(folders) == folders
    assert study_digest(whole) == study_digest(study)
    assert with_absolute_paths(parse(server__pretrain__start="shipped")).server.pretrain.start == "shipped"


@pytest.mark.parametrize(
    ("simulate", "message"),
    [
        ("test_cases = 50", r"val_cases \+ test_cases is 51; there are only 6 cases$"),
        ("cases = 140", "cases is 140, but there are only 12 clips; use at most 12$"),
        ("val_cases = 0", "has no cases in split 'val'; raise val_cases, or set evaluation.folds$"),
        ("val_cases = 6", "has no cases in split 'train'; lower val_cases and test_cases, or set evaluation.folds$"),
        ("clips = 9999999", "clips is 9999999; it must be at most 1000000$"),
    ],
)
def test_a_hospital_that_cannot_be_drawn_is_found_as_the_study_is_read(simulate: str, message: str) -> None:
    sites = SITES + f"simulate = {{profiles = ['eye'], {simulate}}}\n"
    with pytest.raises(StudyError, match=rf"^trial\.toml: sites\[south\]\.simulate: {message}"):
        parse(sites=sites, task__classes=PARTS)


def test_a_hospital_with_too_few_cases_for_what_is_done_with_them() -> None:
    sites = SITES + "simulate = {profiles = ['eye'], cases = 3}\n"
    with pytest.raises(
        StudyError, match=r"sites\[south\]\.simulate: site 'south': 9 folds need more cases than its 3, 1"
    ):
        parse(sites=sites, task__classes=PARTS, evaluation__folds=9)
    unseen = sites.replace("simulate = {", "role = 'unseen'\nsimulate = {val_cases = 2, ")
    with pytest.raises(StudyError, match=r"has 1 cases in split 'train', adaptation needs 2: .*; lower val_cases and"):
        parse(sites=unseen, task__classes=PARTS, adaptation__enabled=True)


def test_classes_that_the_simulator_does_not_draw() -> None:
    sites = SITES + "simulate = {profiles = ['eye']}\n"
    said = r"its masks hold background, shaft, wrist, clasper, .* study are background, blood; change task\.classes or"
    with pytest.raises(StudyError, match=said):
        parse(sites=sites, task__classes=["background", "blood"])
    whole = sites.replace("['eye']", "['eye'], whole_instruments = true")
    assert parse(sites=whole, task__classes=["background", "tool"]).task.classes == ("background", "tool")
    unseen = sites.replace("simulate = {", "role = 'unseen'\nsimulate = {val_cases = 0, ")
    with pytest.raises(StudyError, match=r"has no cases in split 'test' or 'val' to be scored on; raise test_cases$"):
        parse(sites=unseen, task__classes=PARTS)
    assert parse(sites=unseen, task__classes=PARTS, evaluation__unseen_cases="all").unseen


def test_a_byte_order_mark_is_harmless(tmp_path: Path) -> None:
    path = tmp_path / "trial.toml"
    path.write_text("\ufeff" + HEAD + SITES, encoding="utf-8")
    assert study_digest(load_study(path)) == study_digest(parse())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2**64}, r"seed: found 18446744073709551616; input should be less than 10+$"),
        ({"local__cross_entropy": 0, "local__jaccard": 0}, "cross_entropy and jaccard are both 0, so there is nothing"),
        ({"evaluation__folds": 1}, "folds is 1, and then nothing would be left to train on; set 2 or more, or 0"),
        (
            {"evaluation__folds": 2, "evaluation__choose": "best"},
            "but the cases of a fold are scored, and",
        ),
        (
            {f"sharing__{part}": "frozen" for part in SHARED} | {"methods": ["fedavg"]},
            "sharing: every part that fedavg has is frozen, so it would train nothing",
        ),
    ],
)
def test_a_study_that_could_not_train_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        parse(**change)


def test_frozen_parts_leave_others_to_train() -> None:
    frozen = {f"sharing__{part}": "frozen" for part in SHARED if part != "query"}
    assert parse(**frozen, methods=["fedst", "start"]).methods == ("fedst", "start")
    with pytest.raises(StudyError, match="sharing: fedst's server trains on synthetic video, and every part that it"):
        parse(**frozen, sharing__query="frozen", methods=["fedst"])


def test_overrides_are_checked_like_the_file() -> None:
    assert parse(federation__rounds=9).federation.rounds == 9
    assert parse(methods=["local"]).methods == ("local",)
    with pytest.raises(StudyError, match=r"federation\.rounds: found 0"):
        parse(federation__rounds=0)
    with pytest.raises(StudyError, match=r"federation\.round: unknown key; did you mean 'rounds'"):
        parse(federation__round=3)
    with pytest.raises(StudyError, match=r"^trial\.toml: federation\.rounds: cannot be set, as federation is 3"):
        parse(HEAD + "federation = 3\n", federation__rounds=3)


def test_the_digest_ignores_order_comments_and_stated_defaults() -> None:
    digest = study_digest(parse())
    assert len(digest) == 64
    assert study_digest(parse("seed = 7 # lucky\nname = 'trial'\n")) == digest
    assert study_digest(parse(tables="[federation]\nrounds = 12\nquorum = 0\n[local]\nsteps = 10\n")) == digest
    assert study_digest(parse(tables="[local]\nsteps = 10\n[federation]\nquorum = 0\nrounds = 12\n")) == digest


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"name": "trial2"},
        {"methods": ["fedavg"]},
        {"federation__rounds": 13},
        {"network__temporal__history_gradient": True},
        {"server__serq__lambda_3": 0.2},
        {"local__augmentation__hue": 0.06},
        {"evaluation__folds": 2},
        {"sharing__head": "site"},
    ],
    ids=str,
)
def test_any_other_value_is_another_digest(change: dict[str, Any]) -> None:
    assert study_digest(parse(**change)) != study_digest(parse())


def test_the_order_of_sites_matters() -> None:
    first, second = SITES.split("[[sites]]")[1:]
    assert study_digest(parse(sites=f"[[sites]]{second}[[sites]]{first}")) != study_digest(parse())


def test_a_study_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse().seed = 8  # type: ignore[misc]


def test_resolved_is_read_back_as_the_same_study(tiny_study: Callable[..., Study]) -> None:
    study = tiny_study()
    assert Study.model_validate(study.resolved()) == study

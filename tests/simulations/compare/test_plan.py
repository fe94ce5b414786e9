"""Variants and cells: what runs, under which name, and which cells are shared."""

from collections.abc import Callable

import pytest

from fedsurg.errors import StudyError
from fedsurg.methods.registry import METHODS
from fedsurg.metrics.summary import ADAPTED, FINETUNED, MEAN_QUERY
from fedsurg.study import Study, study_digest
from simulations.compare.ablations import ABLATIONS
from simulations.compare.plan import Plan, chosen_methods

MakeStudy = Callable[..., Study]


def names(plan: Plan) -> list[str]:
    return [cell.name for cell in plan.cells()]


def test_a_cell_per_method_seed_and_holdout(tiny_study: MakeStudy) -> None:
    assert names(Plan(tiny_study(), ("fedst", "local"), False, 2)) == [
        "fedst-seed3",
        "local-seed3",
        "fedst-seed4",
        "local-seed4",
    ]
    folds = Plan(tiny_study(evaluation__folds=2), ("fedavg",), False, 1)
    assert names(folds) == ["fedavg-seed3-fold0", "fedavg-seed3-fold1"]
    sites = Plan(tiny_study(evaluation__leave_one_site_out=True), ("fedavg",), False, 1)
    assert names(sites) == ["fedavg-seed3-without-north", "fedavg-seed3-without-east"]


def test_only_the_seed_and_the_left_out_site_differ(tiny_study: MakeStudy) -> None:
    study = tiny_study(evaluation__leave_one_site_out=True)
    _, cell = Plan(study, ("fedavg",), False, 1).cells()
    ran = cell.study()
    assert (ran.seed, ran.methods) == (3, ("fedavg",))
    assert [site.name for site in ran.unseen] == ["east", "harbour"]
    assert ran.local == study.local
    first, second = Plan(tiny_study(), ("fedavg",), False, 2).cells()
    assert second.study() == first.study().model_copy(update={"seed": 4})


def test_the_first_seed_runs_what_simulate_runs(tiny_study: MakeStudy) -> None:
    study = tiny_study(methods=["fedst"])
    (cell,) = Plan(study, ("fedst",), False, 1).cells()
    assert study_digest(cell.study()) == study_digest(study)


def test_a_cell_does_not_depend_on_its_companions(tiny_study: MakeStudy) -> None:
    alone = Plan(tiny_study(), ("fedst",), False, 1)
    beside = Plan(tiny_study(), ("fedst", "local"), True, 3)
    assert alone.digest == beside.digest
    assert alone.digest != Plan(tiny_study(local__steps=2), ("fedst",), False, 1).digest
    assert study_digest(alone.cells()[0].study()) == study_digest(beside.cells()[0].study())


def test_methods_and_controls_share_the_cells_of_fedst(tiny_study: MakeStudy) -> None:
    plan = Plan(tiny_study(), ("fedst", "local"), True, 1)
    assert names(plan).count("fedst-seed3") == 1
    assert plan.sources()["ablations", "fedst"].family == "methods"
    assert Plan(tiny_study(), (), True, 1).sources()["ablations", "fedst"].family == "ablations"


def test_a_control_that_changes_nothing_runs_nothing(tiny_study: MakeStudy) -> None:
    """The tiny study's gate is one-hot already."""
    plan = Plan(tiny_study(), (), True, 1)
    assert "onehot-gate-seed3" not in names(plan)
    assert plan.sources()["ablations", "onehot-gate"].name == "fedst"
    assert "onehot-gate-seed3" in names(Plan(tiny_study(network__gate__text="sentence"), (), True, 1))


def test_models_at_unseen_sites_are_called_as_in_scores() -> None:
    assert {row.model for row in ABLATIONS if row.model} == {ADAPTED, FINETUNED, MEAN_QUERY}


def test_controls_are_named_once_and_never_like_another_method() -> None:
    assert len({row.name for row in ABLATIONS}) == len(ABLATIONS)
    assert ABLATIONS[0].name == ABLATIONS[0].method == "fedst"
    for row in ABLATIONS:
        assert row.method in METHODS
        assert row.name not in METHODS or (row.name == row.method and not row.overrides)


@pytest.mark.parametrize(
    ("words", "methods"),
    [
        (None, ("fedprox",)),
        ("all", tuple(METHODS)),
        ("local, fedst,local", ("local", "fedst")),
    ],
)
def test_chosen_methods(words: str | None, methods: tuple[str, ...]) -> None:
    assert chosen_methods(words, ("fedprox",)) == methods


def test_an_unknown_method() -> None:
    with pytest.raises(StudyError, match="--methods: 'fedts' is unknown; did you mean 'fedst'"):
        chosen_methods("fedts", ())
    with pytest.raises(StudyError, match="--methods ' ': names no method"):
        chosen_methods(" ", ())

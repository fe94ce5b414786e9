"""Folds and left-out sites: names of jobs, and the study that runs without a site."""

from collections.abc import Callable

import pytest

from fedsurg.errors import StudyError
from fedsurg.study import Study
from fedsurg.study_file.holdout import Holdout, holdouts
from fedsurg.study_file.load import changed

MakeStudy = Callable[..., Study]


@pytest.mark.parametrize(
    ("name", "method", "holdout"),
    [
        ("fedst", "fedst", Holdout()),
        ("fedst-lite-fold12", "fedst-lite", Holdout(12)),
        ("fedavg-without-north", "fedavg", Holdout(site="north")),
        ("fedst-without-a-without-b-fold2", "fedst", Holdout(site="a-without-b-fold2")),
    ],
)
def test_a_job_is_named_by_method_and_holdout(name: str, method: str, holdout: Holdout) -> None:
    assert Holdout.of_name(name) == (method, holdout)
    assert f"{method}{holdout}" == name


def test_what_a_study_leaves_out(tiny_study: MakeStudy) -> None:
    assert holdouts(tiny_study()) == (Holdout(),)
    assert holdouts(tiny_study(evaluation__folds=2)) == (Holdout(0), Holdout(1))
    each = tiny_study(evaluation__leave_one_site_out=True)
    assert holdouts(each) == (Holdout(site="north"), Holdout(site="east"))  # harbour never trains


def test_a_left_out_site_is_unseen(tiny_study: MakeStudy) -> None:
    each = tiny_study(evaluation__leave_one_site_out=True)
    study = Holdout(site="east").study(each)
    assert [(site.name, site.role) for site in study.sites] == [
        ("north", "federated"),
        ("east", "unseen"),
        ("harbour", "unseen"),
    ]
    assert not study.evaluation.leave_one_site_out
    assert Holdout().study(each) is each


def test_cases_or_sites_are_left_out_but_not_both(tiny_study: MakeStudy) -> None:
    with pytest.raises(StudyError, match="evaluation: folds is 2 and leave_one_site_out is true, but a run leaves out"):
        tiny_study(evaluation__folds=2, evaluation__leave_one_site_out=True)


def test_cases_that_an_adaptation_trains_on_are_not_scored(tiny_study: MakeStudy) -> None:
    assert tiny_study(evaluation__unseen_cases="all").evaluation.unseen_cases == "all"
    with pytest.raises(
        StudyError, match=r"unseen_cases is 'all', but an adaptation trains on some of these cases; set"
    ):
        tiny_study(evaluation__unseen_cases="all", adaptation__enabled=True)


def test_someone_must_be_left_to_train(tiny_study: MakeStudy) -> None:
    sites = [{"name": "north", "procedure": "any"}]
    with pytest.raises(StudyError, match="leave_one_site_out needs two federated sites or more; add a site"):
        tiny_study(sites=sites, evaluation__leave_one_site_out=True)
    with pytest.raises(StudyError, match=r"quorum is 2, but only 1 sites train at once"):
        tiny_study(federation__quorum=2, evaluation__leave_one_site_out=True)


def test_a_changed_study_is_checked(tiny_study: MakeStudy) -> None:
    study = tiny_study()
    assert changed(study, {"seed": 9, "network.gate.enabled": False}).seed == 9
    assert changed(study, {}) == study
    with pytest.raises(StudyError, match=r"study 'tiny': local.steps: found 0; input should be greater than 0"):
        changed(study, {"local.steps": 0})

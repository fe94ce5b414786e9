"""Frames to cases to sites to federations, and the interval over cases."""

from math import isnan, nan

import pytest
from pandas import DataFrame

from fedsurg.metrics.summary import (
    COLUMNS,
    MEASURES,
    by_case,
    case_means,
    federation_summary,
    site_means,
)

Row = tuple[str, str, int, str, float]


def scores(*rows: Row, **constant: object) -> DataFrame:
    """Frame scores from (site, case, frame, label, value); every measure takes the value."""
    place = {"method": "fedst", "fold": 0, "seed": 0, "role": "federated", "model": "personal", "clip": "a"}
    records = [
        place
        | {"simulated": True, "site": site, "case": case, "frame": frame, "label": label}
        | dict.fromkeys(MEASURES, value)
        | constant
        for site, case, frame, label, value in rows
    ]
    return DataFrame(records, columns=list(COLUMNS))


def test_each_case_weighs_the_same_however_many_frames_it_has() -> None:
    table = site_means(
        scores(
            ("north", "c1", 0, "shaft", 1.0),
            ("north", "c1", 1, "shaft", 0.8),
            ("north", "c1", 2, "shaft", 0.6),
            ("north", "c2", 0, "shaft", 0.2),
        )
    )
    (row,) = table.to_dict("records")
    assert row["iou"] == pytest.approx((0.8 + 0.2) / 2)  # over frames it would be 0.65
    assert (row["site"], row["cases"], row["frames"]) == ("north", 2, 4)


def test_each_label_of_a_case_weighs_the_same_and_nan_is_skipped() -> None:
    table = case_means(
        scores(
            ("north", "c1", 0, "shaft", 1.0),
            ("north", "c1", 0, "clip", nan),
            ("north", "c1", 1, "shaft", 0.5),
            ("north", "c1", 1, "clip", 0.25),
            ("north", "c1", 2, "shaft", nan),
            ("north", "c1", 2, "clip", nan),
        )
    )
    assert table["dice"].tolist() == [pytest.approx((0.75 + 0.25) / 2)]
    assert table["frames"].tolist() == [3]


def test_a_case_without_any_value_leaves_the_site_mean_alone() -> None:
    (row,) = site_means(scores(("n", "c1", 0, "x", 0.5), ("n", "c2", 0, "x", nan))).to_dict("records")
    assert row["dice"] == 0.5
    assert row["cases"] == 2


def test_cases_of_all_folds_are_pooled_per_site() -> None:
    rows = scores(("n", "c1", 0, "x", 0.2), ("n", "c2", 0, "x", 0.4), ("n", "c3", 0, "x", 0.9))
    rows["fold"] = [0, 0, 1]
    (row,) = site_means(rows).to_dict("records")
    assert row["iou"] == pytest.approx(0.5)  # the mean of the folds' means would be 0.6


def test_one_case_scored_in_two_folds_is_one_case() -> None:
    rows = scores(("far", "c1", 0, "x", 0.2), ("far", "c1", 0, "x", 0.4), ("far", "c2", 0, "x", 0.9))
    rows["fold"] = [0, 1, 0]
    (row,) = site_means(rows).to_dict("records")
    assert row["iou"] == pytest.approx((0.3 + 0.9) / 2)
    assert (row["cases"], row["frames"]) == (2, 2)


def test_mixed_methods_or_models_are_refused_by_name() -> None:
    rows = scores(("n", "c1", 0, "x", 0.2), ("n", "c1", 0, "x", 0.4))
    with pytest.raises(ValueError, match=r"mix the methods \['fedavg', 'fedst'\]; select one"):
        site_means(rows.assign(method=["fedst", "fedavg"]))
    with pytest.raises(ValueError, match=r"mix the models \['global', 'personal'\]"):
        site_means(rows.assign(model=["personal", "global"]))
    with pytest.raises(ValueError, match=r"lack the columns \['case'\]"):
        site_means(rows.drop(columns="case"))


def test_sites_may_report_different_models() -> None:
    rows = scores(("n", "c1", 0, "x", 0.2), ("far", "c1", 0, "x", 0.4)).assign(model=["personal", "global"])
    assert site_means(rows)["site"].tolist() == ["far", "n"]


def test_cases_are_keyed_by_site_too() -> None:
    cases = case_means(scores(("n", "c1", 0, "x", 0.5), ("n", "c1", 1, "x", 0.7), ("m", "c1", 0, "x", 0.9)))
    assert by_case(cases, "iou") == {("n", "c1"): pytest.approx(0.6), ("m", "c1"): 0.9}


def test_the_federation_leaves_unseen_sites_apart() -> None:
    sites = DataFrame({"site": ["a", "b", "far"], "iou": [0.4, 0.8, 0.1], "hd95": [9.0, 3.0, 1.0]})
    found = federation_summary(sites, unseen=["far"])
    assert (found.worst_site, found.worst) == ("a", 0.4)
    assert found.mean == pytest.approx(0.6)
    assert found.spread == pytest.approx(0.2)
    assert found.unseen == {"far": 0.1}


def test_the_worst_distance_is_the_largest() -> None:
    sites = DataFrame({"site": ["a", "b"], "hd95": [9.0, 3.0]})
    assert federation_summary(sites, measure="hd95").worst_site == "a"


def test_a_federation_without_values_is_nan_not_an_error() -> None:
    found = federation_summary(DataFrame({"site": ["a", "far"], "iou": [nan, 0.3]}), unseen=["far"])
    assert isnan(found.mean)
    assert (found.worst_site, found.unseen) == ("", {"far": 0.3})

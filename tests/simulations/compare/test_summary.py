"""From scores per case to the summary, the figure and the page: small tables with known means."""

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from fedsurg.metrics.summary import MEASURES
from fedsurg.study import Study
from simulations.compare import figure
from simulations.compare.collect import COSTS, SCORES, Collected, judged, over_cells
from simulations.compare.page import story, write_page
from simulations.compare.plan import Plan
from simulations.compare.summary import Summary, summarise
from simulations.compare.terminal import print_comparison

MakeStudy = Callable[..., Study]

# case -> IoU of FedST with the first seed; FedAvg is 0.1 lower at north and east and 0.2 at harbour.
CASES = {
    ("north", "federated", "n1"): 0.5,
    ("north", "federated", "n2"): 0.7,
    ("east", "federated", "e1"): 0.2,
    ("east", "federated", "e2"): 0.4,
    ("harbour", "unseen", "h1"): 0.3,
    ("harbour", "unseen", "h2"): 0.5,
}

RECORD: dict[str, Any] = {
    "digest": "d" * 64,
    "commands": ["fedsurg compare tiny.toml"],
    "machine": {"cpu": "Xeon", "host": "ward-7"},
    "versions": {"torch": "2"},
    "simulated_sites": [],
    "jobs": 1,
    "started": "2026-03-02T09:14:00+00:00",
}


def row(variant: str, seed: int, site: str, role: str, case: str, iou: float, **others: Any) -> dict[str, Any]:
    model = "global" if role == "unseen" else "personal"
    place = {"family": "methods", "variant": variant, "method": variant, "seed": seed, "fold": None, "left_out": ""}
    here = {"site": site, "role": role, "model": model, "simulated": False, "case": case, "frames": 3}
    return place | here | dict.fromkeys(MEASURES, iou) | others


def rows_of(variant: str, seed: int, lower: dict[str, float]) -> list[dict[str, Any]]:
    return [row(variant, seed, *place, iou - lower[place[1]] + (seed == 4) * 0.02) for place, iou in CASES.items()]


@pytest.fixture
def collected() -> Collected:
    rows = [one for seed in (3, 4) for one in rows_of("fedst", seed, {"federated": 0.0, "unseen": 0.0})]
    rows += [one for seed in (3, 4) for one in rows_of("fedavg", seed, {"federated": 0.1, "unseen": 0.2})]
    costs = [
        {"family": "methods", "variant": variant, "method": variant, "seed": seed, "fold": None, "left_out": ""}
        | {"bytes_sent": 2e6, "bytes_received": 3e6, "seconds_per_round": 4.0 + seed, "seconds": 8.0, "refused": 0}
        for variant in ("fedst", "fedavg")
        for seed in (3, 4)
    ]
    return Collected(pd.DataFrame(rows, columns=list(SCORES)), pd.DataFrame(costs, columns=list(COSTS)))


@pytest.fixture
def plan(tiny_study: MakeStudy) -> Plan:
    return Plan(tiny_study(evaluation__bootstrap=300), ("fedst", "fedavg"), False, 2)


@pytest.fixture
def summary(plan: Plan, collected: Collected) -> Summary:
    return summarise(plan, collected)


def test_means_worst_site_and_spread(summary: Summary) -> None:
    fedst, fedavg = (found for _, found in summary.of("methods").iterrows())
    assert fedst["federated"] == pytest.approx((0.6 + 0.3) / 2 + 0.01)  # the second seed is 0.02 higher everywhere
    assert (fedst["worst_site"], fedst["worst"]) == ("east", pytest.approx(0.31))
    assert fedst["spread"] == pytest.approx(0.15)
    assert fedst["unseen"] == pytest.approx(0.41)
    assert fedst["federated_low"] < fedst["federated"] < fedst["federated_high"]
    assert fedst["federated_seed_sd"] == pytest.approx(0.02 / 2**0.5)
    assert (fedst["seeds"], fedst["cells"], fedst["cases"], fedst["refused"]) == (2, 2, 6, 0)
    assert (fedst["bytes_sent"], fedst["seconds_per_round"], fedst["seconds"]) == (2e6, 7.5, 8.0)
    assert fedavg["federated"] == pytest.approx(0.36)


def test_every_method_is_held_against_fedst(summary: Summary) -> None:
    fedst, fedavg = (found for _, found in summary.of("methods").iterrows())
    assert summary.references == {"methods": "fedst"}
    assert isnan(fedst["federated_difference"])
    assert isnan(fedst["federated_p_holm"])
    assert fedavg["federated_difference"] == pytest.approx(-0.1)
    assert fedavg["federated_difference_high"] == pytest.approx(-0.1)  # the same in every case: no width
    assert fedavg["federated_pairs"] == 4
    assert fedavg["federated_p"] == pytest.approx(2 / 16)  # four differences of one sign
    assert fedavg["federated_p_holm"] == fedavg["federated_p"]  # the only test of its family
    assert fedavg["unseen_difference"] == pytest.approx(-0.2)


def test_another_reference_may_be_asked_for(plan: Plan, collected: Collected) -> None:
    found = summarise(replace(plan, reference="fedavg"), collected)
    fedst, fedavg = (row for _, row in found.of("methods").iterrows())
    assert found.references == {"methods": "fedavg"}
    assert isnan(fedavg["federated_difference"])
    assert fedst["unseen_difference"] == pytest.approx(0.2)


def test_a_row_with_fewer_cells_says_so_and_does_not_compete(plan: Plan, collected: Collected, tmp_path: Path) -> None:
    """FedAvg's one finished seed is lifted above FedST: it still is neither bold nor called best."""
    scores = collected.scores.copy()
    mine = scores["variant"] == "fedavg"
    scores.loc[mine, "iou"] += 0.3
    found = summarise(plan, replace(collected, scores=scores[~mine | (scores["seed"] == 3)]))
    assert dict(zip(found.of("methods")["variant"], found.of("methods")["complete"], strict=True)) == {
        "fedst": True,
        "fedavg": False,
    }
    assert story(found)[0].startswith("FedST is best")
    write_page(plan, RECORD, found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("1 of 2 cells") == 1
    assert "does not compete" in page
    terminal = StringIO()
    print_comparison(found, Console(file=terminal))
    assert "1 of 2 cells" in terminal.getvalue()


def test_differences_are_over_the_same_cells(plan: Plan, collected: Collected) -> None:
    """FedAvg is as good as FedST in seed 3, the only one it finished; FedST's better seed 4 says nothing of it."""
    scores = collected.scores.copy()
    mine, first = scores["variant"] == "fedavg", scores["seed"] == 3
    scores.loc[mine & first, "iou"] = scores.loc[~mine & first, "iou"].to_numpy()
    scores.loc[~mine & ~first, "iou"] += 0.4
    found = summarise(plan, replace(collected, scores=scores[~mine | first]))
    fedavg = found.of("methods").iloc[1]
    assert (fedavg["federated_difference"], fedavg["federated_p"], fedavg["unseen_difference"]) == (0, 1, 0)
    assert story(found) == [story(found)[0]]  # nothing is said of a row that is not complete


def test_differences_are_over_the_same_folds(plan: Plan, collected: Collected) -> None:
    """A case scored in two runs is compared in the one that both rows have."""
    scores = collected.scores.assign(left_out="west")
    again = scores[scores["variant"] == "fedst"].assign(left_out="south")
    again["iou"] += 0.3
    found = summarise(plan, replace(collected, scores=pd.concat([scores, again], ignore_index=True)))
    assert found.of("methods").iloc[1]["federated_difference"] == pytest.approx(-0.1)


def test_seeds_that_have_not_finished_are_not_claimed(plan: Plan, collected: Collected, tmp_path: Path) -> None:
    scores = collected.scores[collected.scores["seed"] == 3]
    found = summarise(plan, replace(collected, scores=scores))
    assert (found.seeds, found.cells, set(found.of("methods")["gap"])) == ((3,), 2, {"1 of 2 cells"})
    write_page(plan, RECORD, found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "1 seed (3)" in page and "(3, 4)" not in page


def test_a_row_whose_reply_was_refused_says_so(plan: Plan, collected: Collected) -> None:
    costs = collected.costs.copy()
    costs.loc[costs["variant"] == "fedavg", "refused"] = [1, 0]
    assert list(summarise(plan, replace(collected, costs=costs)).of("methods")["gap"]) == ["", "1 reply refused"]


def test_a_row_without_any_federated_score_says_so(plan: Plan, collected: Collected) -> None:
    scores = collected.scores
    lost = (scores["variant"] == "fedavg") & (scores["role"] == "federated")
    found = summarise(plan, replace(collected, scores=scores[~lost]))
    assert list(found.of("methods")["gap"]) == ["", "lacks scores of east, north"]


def test_a_control_that_changes_nothing_is_no_test(tiny_study: MakeStudy, collected: Collected) -> None:
    """The study's gate is one-hot already: that control reads FedST's cells, and no other p is corrected for it."""
    plan = Plan(tiny_study(evaluation__bootstrap=50), ("fedst",), True, 2)
    rows = collected.scores[collected.scores["variant"] == "fedst"]
    named = ("fedst", "onehot-gate", "no-gate", "no-adapters")
    scores = [
        rows.assign(family="ablations", variant=name, iou=rows["iou"] - (name[:2] == "no") * 0.1) for name in named
    ]
    found = summarise(plan, replace(collected, scores=pd.concat(scores), costs=collected.costs[:0])).of("ablations")
    by_name = found.set_index("variant")
    assert plan.sources()["ablations", "onehot-gate"] == plan.sources()["ablations", "fedst"]
    assert isnan(by_name.loc["onehot-gate", "federated_p"])
    assert by_name.loc["no-gate", "federated_p_holm"] == pytest.approx(2 * by_name.loc["no-gate", "federated_p"])


def test_what_is_printed_alike_is_marked_alike(plan: Plan, collected: Collected, tmp_path: Path) -> None:
    """FedAvg is lifted to within a rounding of FedST: both are bold, both are named, and neither interval is given."""
    scores = collected.scores.copy()
    mine = scores["variant"] == "fedavg"
    scores.loc[mine & (scores["role"] == "federated"), "iou"] += 0.0999
    found = summarise(plan, replace(collected, scores=scores))
    assert story(found)[0] == (
        "FedST and FedAvg are best on the federated sites, with a mean IoU of 46.0 % on held-out cases."
    )
    write_page(plan, RECORD, found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count('best">46.0') == 2
    assert page.count('best">41.0') == 1  # at the unseen site FedST alone


def test_where_nobody_has_a_value_nothing_is_best(plan: Plan, collected: Collected, tmp_path: Path) -> None:
    scores = collected.scores.copy()
    scores.loc[scores["role"] == "unseen", "iou"] = float("nan")
    write_page(plan, RECORD, summarise(plan, replace(collected, scores=scores)), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count(' best">') == 1
    assert 'best">46.0' in page


def test_a_row_that_lost_a_site_says_so_and_does_not_compete(plan: Plan, collected: Collected) -> None:
    """Without its hardest site FedAvg's mean is above FedST's."""
    scores = collected.scores
    lost = (scores["variant"] == "fedavg") & (scores["site"] == "east") & (scores["seed"] == 4)
    found = summarise(plan, replace(collected, scores=scores[~lost]))
    assert list(found.of("methods")["gap"]) == ["", "lacks scores of east"]
    assert story(found)[0].startswith("FedST is best")


def test_where_lower_is_better_the_worst_site_is_the_highest(summary: Summary) -> None:
    fedst = summary.of("methods", "hd95").iloc[0]
    assert fedst["worst_site"] == "north"


def test_single_sites(summary: Summary) -> None:
    north = summary.sites[(summary.sites["variant"] == "fedst") & (summary.sites["site"] == "north")].iloc[0]
    assert (north["iou"], north["cases"]) == (pytest.approx(0.61), 2)
    assert 0.51 <= north["iou_low"] < north["iou_high"] <= 0.71


def test_where_nothing_is_shared_the_mean_of_the_own_models_counts() -> None:
    rows = [
        row("local", 3, "harbour", "unseen", "h1", iou, model=f"personal of {site}")
        for site, iou in (("north", 0.2), ("east", 0.6))
    ]
    table = judged(pd.DataFrame(rows, columns=list(SCORES)))
    assert list(table["iou"]) == [pytest.approx(0.4)]


def test_the_global_model_stands_for_an_unseen_site_and_not_what_else_was_tried() -> None:
    rows = [row("fedst", 3, "harbour", "unseen", "h1", 0.3), row("fedst", 3, "harbour", "unseen", "h1", 0.9, model="x")]
    assert list(judged(pd.DataFrame(rows, columns=list(SCORES)))["iou"]) == [0.3]


def test_all_cells_that_scored_a_case_count_alike() -> None:
    """Seed 3 scored n1 in two cells (0.2 and 0.4), seed 4 in one (0.6)."""
    rows = [
        row("fedst", seed, "north", "federated", "n1", iou, left_out=left_out)
        for seed, iou, left_out in ((3, 0.2, "east"), (3, 0.4, "west"), (4, 0.6, "east"))
    ]
    assert list(over_cells(judged(pd.DataFrame(rows, columns=list(SCORES))))["iou"]) == [pytest.approx(0.4)]


def test_a_site_that_trains_in_no_run_is_named_where_each_site_is_left_out(
    tiny_study: MakeStudy, plan: Plan, summary: Summary, tmp_path: Path
) -> None:
    each = replace(plan, study=tiny_study(evaluation__leave_one_site_out=True))
    write_page(each, RECORD, summary, tmp_path / "compare.html")
    page = (tmp_path / "compare.html").read_text()
    assert "2 federated sites, each left out once, 1 that never trains" in page
    assert "So is harbour, which trains in no run" in page


def test_the_story_and_the_page(plan: Plan, summary: Summary, tmp_path: Path) -> None:
    sentences = story(summary)
    assert sentences[0].startswith("FedST is best on the federated sites, with a mean IoU of 46.0 %")
    assert sentences[1] == (
        "Case by case, FedST is 10.0 points above FedAvg on the federated sites (95 % interval +10.0 to +10.0) and "
        "20.0 points above FedAvg where a site took no part (95 % interval +20.0 to +20.0)."
    )
    assert sentences[2].startswith(
        "Of 1 method held against FedST on the federated sites, it is neither above nor below any by more than chance"
    )
    write_page(plan, RECORD, summary, tmp_path / "compare.html")
    page = (tmp_path / "compare.html").read_text()
    assert "ward-7" not in page
    assert "var(--m0)" in page  # the figure takes the page's colours
    assert "46.0" in page
    assert "None" not in page
    assert "nan" not in page.replace("finance", "")


def test_what_differs_by_more_than_chance_is_named_with_its_side(summary: Summary) -> None:
    summary.rows.loc[summary.rows["variant"] == "fedavg", "federated_p_holm"] = 0.049
    assert (
        "held against FedST on the federated sites, it is above FedAvg by more than chance makes likely"
        in story(summary)[2]
    )
    summary.rows["federated_difference"] *= -1
    assert "it is below FedAvg by more than chance makes likely" in story(summary)[2]


def test_the_figure_is_a_picture_and_the_same_each_time(summary: Summary) -> None:
    png, svg = figure.standalone(summary, "methods")
    assert png.startswith(b"\x89PNG")
    assert b"<svg" in svg
    assert figure.standalone(summary, "methods") == (png, svg)

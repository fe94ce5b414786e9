"""Tables, the paragraph on top and the terminal."""

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from fedsurg.metrics.summary import case_means
from fedsurg.report import tables
from fedsurg.report.run_folder import Run
from fedsurg.report.story import paragraph
from fedsurg.report.terminal import print_summary
from fedsurg.report.wording import duration, interval, listed, plural, points, size, standing, typeset

RunMaker = Callable[..., Path]


def test_cases_of_both_folds_meet_in_one_row_per_site(finished_run: Path) -> None:
    sites = tables.site_table(Run.read(finished_run))
    assert sites.query("method == 'local' and site == 'island'").empty
    (row,) = sites.query("method == 'fedst' and site == 'north'").to_dict("records")
    assert row["cases"] == 6
    assert row["iou_low"] < row["iou"] < row["iou_high"]
    assert row["iou_lineage"] > row["iou"]  # frames without a clasper count 1 there


def test_the_mean_leaves_the_unseen_site_out(finished_run: Path) -> None:
    run = Run.read(finished_run)
    sites = tables.site_table(run)
    mine = sites[sites["method"] == "fedst"].set_index("site")["iou"]
    row = tables.method_table(run).set_index("method").loc["fedst"]
    assert row["iou"] == pytest.approx(mine[["north", "harbour", "valley"]].mean())
    assert (row["worst_site"], row["worst_iou"]) == ("harbour", mine["harbour"])
    assert row["unseen_iou"] == mine["island"]
    assert (row["bytes_in"], row["bytes_out"]) == (20_327_824 + 512, 20_327_824)


def test_refusals_and_missing_unseen_scores_are_counted(finished_run: Path) -> None:
    methods = tables.method_table(Run.read(finished_run)).set_index("method")
    assert methods["refused"].to_dict() == {"fedst": 0, "fedavg": 2, "local": 0}
    assert methods["unseen_iou"].isna().to_dict() == {"fedst": False, "fedavg": False, "local": True}


def test_a_site_is_judged_by_its_personal_model_and_the_unseen_one_by_the_global(run_maker: RunMaker) -> None:
    path = run_maker(methods=("fedst",), folds=0, rounds=1)
    file = path / "runs" / "fedst" / "scores.csv"
    scores = pd.read_csv(file)
    other = scores.assign(model=scores["model"].map({"personal": "global", "global": "personal"}), iou=0.0)
    pd.concat([scores, other]).to_csv(file, index=False)
    sites = tables.site_table(Run.read(path))
    assert len(sites) == 8
    judged = sites[sites["headline"]]
    assert set(zip(judged["role"], judged["model"], strict=True)) == {
        ("federated", "personal"),
        ("unseen", "global"),
    }
    assert tables.method_table(Run.read(path))["iou"].iloc[0] > 0.5


def test_the_only_model_of_a_site_is_the_one_it_is_judged_by(run_maker: RunMaker) -> None:
    path = run_maker(methods=("fedavg",), folds=0, rounds=1)
    file = path / "runs" / "fedavg" / "scores.csv"
    file.write_text(file.read_text().replace(",personal,", ",global,"))
    assert tables.site_table(Run.read(path))["headline"].all()


def test_without_a_global_model_an_unseen_site_is_judged_by_the_mean_of_all(run_maker: RunMaker) -> None:
    path = run_maker(methods=("fedst",), folds=0, rounds=1)
    file = path / "runs" / "fedst" / "scores.csv"
    scores = pd.read_csv(file)
    unseen = scores["role"] == "unseen"
    others = [scores[unseen].assign(model=f"personal of {site}", iou=iou) for site, iou in (("a", 0.2), ("b", 0.6))]
    pd.concat([scores[~unseen], *others]).to_csv(file, index=False)
    sites = tables.site_table(Run.read(path)).query("role == 'unseen'")
    assert len(sites) == 3
    (judged,) = sites[sites["headline"]].to_dict("records")
    assert judged["model"] == "mean over the sites' own models"
    assert judged["iou"] == pytest.approx(0.4)
    assert judged["frames"] == sites["frames"].max()
    assert "At island, which took no part, FedST has 40.0 % as the mean over the sites' own models" in paragraph(
        Run.read(path)
    )


def test_adapted_models_stand_beside_the_one_an_unseen_site_is_judged_by(run_maker: RunMaker) -> None:
    path = run_maker(methods=("fedst",), folds=0, rounds=1)
    file = path / "runs" / "fedst" / "scores.csv"
    scores = pd.read_csv(file)
    unseen = scores[scores["role"] == "unseen"]
    others = [unseen.assign(model=model, iou=iou) for model, iou in (("adapted", 0.9), ("finetuned", 0.1))]
    pd.concat([scores, *others]).to_csv(file, index=False)
    run = Run.read(path)
    sites = tables.site_table(run).query("role == 'unseen'")
    assert dict(zip(sites["model"], sites["headline"], strict=True)) == {
        "global": True,
        "adapted": False,
        "finetuned": False,
    }
    assert (
        "With FedST's private part adapted to a few cases there, it reaches 90.0 %; all of it fine-tuned on them "
        "without a guard, 10.0 %."
    ) in paragraph(run)


@pytest.mark.parametrize(
    ("ious", "said"),
    [
        ({"fedst": 0.3, "fedavg": 0.5, "fedst-lite": 0.2}, "FedAvg is best with 50.0 %."),
        ({"fedst": 0.3, "fedavg": 0.2, "fedst-lite": 0.5}, "FedST-lite is best with 50.0 %; FedAvg has 20.0 %."),
        ({"fedst": 0.5, "fedavg": 0.5003, "fedst-lite": 0.2}, "FedST and FedAvg are best with 50.0 %."),
        ({"fedst": 0.3, "fedavg": float("nan"), "local": float("nan")}, "FedST has 30.0 %."),
        ({"fedst": 0.3, "central": 0.9, "fedavg": 0.2}, "FedST is best with 30.0 %; FedAvg has 20.0 %."),
    ],
)
def test_the_paragraph_says_who_does_best_where_nobody_trained(
    run_maker: RunMaker, ious: dict[str, float], said: str
) -> None:
    path = run_maker(methods=("fedst", "fedavg", "fedst-lite"), folds=0, rounds=1)
    for made, (method, iou) in zip(("fedst", "fedavg", "fedst-lite"), ious.items(), strict=True):
        folder = path / "runs" / made
        scores = pd.read_csv(folder / "scores.csv").assign(method=method)
        scores.loc[scores["role"] == "unseen", ["iou", "model"]] = [iou, "global"]
        scores.to_csv(folder / "scores.csv", index=False)
        folder.rename(path / "runs" / f"{method}.made")
    for folder in (path / "runs").iterdir():
        folder.rename(folder.with_suffix(""))
    text = re.sub(r" \([0-9.]+.[0-9.]+\)", "", paragraph(Run.read(path)))  # without intervals
    assert f"At island, which took no part, {said}" in text


def test_the_paragraph_calls_all_the_best_that_are_printed_as_the_best(run_maker: RunMaker) -> None:
    """45.48 and 45.475 are both printed as 45.5, and bold in the table."""
    path = _with_ious(run_maker, north=(3, 0.4548, 0.45475), harbour=(3, 0.4548, 0.45475))
    assert "FedST and FedAvg are best on the federated sites, with a mean IoU of 45.5 %." in paragraph(Run.read(path))


def test_the_difference_is_paired_by_case(finished_run: Path) -> None:
    run = Run.read(finished_run)
    found = tables.differences(run, "fedst", "fedavg")
    by_hand = []
    for method in ("fedst", "fedavg"):
        scores = run.scores.query(f"method == '{method}' and role == 'federated'")
        by_hand.append(case_means(scores).set_index(["site", "case"])["iou"])
    expected = by_hand[0] - by_hand[1]
    assert list(found) == ["harbour", "north", "valley"]
    assert all(values == pytest.approx(expected[site].to_numpy()) for site, values in found.items())


def test_the_difference_agrees_with_the_means_where_sites_have_unequal_numbers_of_cases(run_maker: RunMaker) -> None:
    """Five cases at -4 points and three at +6: +1.0 over sites, as the means are; all cases alike it would be -0.25."""
    path = _with_ious(run_maker, north=(5, 0.46, 0.50), harbour=(3, 0.46, 0.40))
    methods = tables.method_table(Run.read(path)).set_index("method")
    assert methods["iou"].to_dict() == {"fedst": pytest.approx(0.46), "fedavg": pytest.approx(0.45)}
    text = paragraph(Run.read(path))
    assert "FedST is best on the federated sites, with a mean IoU of 46.0 %" in text
    assert "Case by case, FedST is 1.0 points of IoU above FedAvg on the federated sites (95 % interval +1.0 to" in text


def test_a_difference_that_rounds_to_nothing_has_no_side(run_maker: RunMaker) -> None:
    path = _with_ious(run_maker, north=(3, 0.4998, 0.50), harbour=(3, 0.40, 0.40))
    text = paragraph(Run.read(path))
    assert "Case by case, FedST is level with FedAvg on the federated sites (95 % interval " in text


def test_a_site_with_one_case_is_named_beside_the_interval(run_maker: RunMaker) -> None:
    path = _with_ious(run_maker, north=(4, 0.46, 0.50), harbour=(1, 0.46, 0.40))
    assert "(95 % interval +1.0 to +1.0, too narrow with one case at harbour)." in paragraph(Run.read(path))


def test_one_case_at_each_site_gives_no_interval(run_maker: RunMaker) -> None:
    path = _with_ious(run_maker, north=(1, 0.46, 0.50), harbour=(1, 0.46, 0.40))
    assert "sites; with one case at each site, chance cannot be told apart." in paragraph(Run.read(path))


def test_the_contract_is_summed_by_part(finished_run: Path) -> None:
    parts = tables.contract_table(Run.read(finished_run).runs[0].contract).set_index("part")
    query = parts.loc["query"]
    assert (query["scope"], query["tensors"], query["parameters"]) == (
        "site",
        4,
        32**2 + 64**2 + 128**2 + 256**2,
    )
    assert query["bytes"] == 4 * query["parameters"]


def test_tables_of_a_run_without_scores_are_empty_not_an_error(run_maker: RunMaker) -> None:
    run = Run.read(run_maker(finished=False, rounds=5))
    assert tables.site_table(run).empty
    methods = tables.method_table(run)
    assert methods["iou"].isna().all()
    assert methods["rounds"].tolist() == [5, 5, 5]


def test_the_paragraph_says_what_matters(finished_run: Path) -> None:
    text = paragraph(Run.read(finished_run))
    for part in (
        "FedST is best on the federated sites, with a mean IoU of 7",
        "Its worst site is harbour with",
        "Case by case, FedST is",
        "points of IoU above FedAvg on the federated sites (95 % interval +",
        "At island, which took no part, FedST is best with",
        "In a round of FedST, each site sends 20.33 MB and receives as much",
        "2 replies were refused",
    ):
        assert part in text


def test_one_method_at_one_site_is_best_of_nothing(run_maker: RunMaker) -> None:
    path = run_maker(methods=("fedst",), folds=0, rounds=1)
    info = json.loads((path / "run.json").read_text())
    info["study"]["sites"] = [site for site in info["study"]["sites"] if site["name"] in ("north", "island")]
    (path / "run.json").write_text(json.dumps(info))
    scores = pd.read_csv(path / "runs" / "fedst" / "scores.csv")
    scores[scores["site"].isin(["north", "island"])].to_csv(path / "runs" / "fedst" / "scores.csv", index=False)
    text = paragraph(Run.read(path))
    assert text.startswith("FedST has on the federated sites a mean IoU of ")
    assert "best" not in text and "worst site" not in text


def test_sites_left_out_in_turn_are_told_of_one_by_one_and_many_together(
    run_maker: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_maker(methods=("fedst", "fedavg"), folds=0, rounds=1)
    info = json.loads((path / "run.json").read_text())
    info["study"]["evaluation"]["leave_one_site_out"] = True
    names = ["north", "harbour", "valley"]
    made = path / "runs"
    for method in ("fedst", "fedavg"):
        for name in names:
            shutil.copytree(made / method, made / f"{method}-without-{name}")
            scores = pd.read_csv(made / method / "scores.csv")
            scores.loc[scores["site"] == name, ["role", "model"]] = ["unseen", "global"]
            scores.to_csv(made / f"{method}-without-{name}" / "scores.csv", index=False)
        shutil.rmtree(made / method)
    (path / "run.json").write_text(json.dumps(info))
    assert "Where harbour was left out, FedST is best with " in paragraph(Run.read(path))
    monkeypatch.setattr("fedsurg.report.story.MANY_UNSEEN", 3)
    text = paragraph(Run.read(path))
    assert "left out" not in text and "which took no part" not in text
    assert re.search(
        r"At the 4 sites that took no part, FedST is best with \d+\.\d %; FedAvg has \d+\.\d % in the", text
    )


def test_the_paragraph_of_a_half_finished_run(run_maker: RunMaker) -> None:
    text = paragraph(Run.read(run_maker(methods=("fedst", "fedavg"), finished=False, rounds=5)))
    assert text.startswith("This run is not finished: of 5 rounds, FedST has done 5 and FedAvg has done 5.")
    assert "Nothing has been scored" in text


def test_the_paragraph_names_the_methods_still_to_come(run_maker: RunMaker) -> None:
    path = run_maker(folds=0, rounds=2)
    (path / "runs" / "local" / "scores.csv").unlink()
    assert "Local is not scored yet." in paragraph(Run.read(path))


def test_piped_output_is_plain_and_no_column_is_cut(finished_run: Path) -> None:
    stream = io.StringIO()
    print_summary(finished_run, Console(file=stream, width=60))
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "…" not in text
    (row,) = [line for line in text.splitlines() if line.strip().startswith("FedAvg ") and "MB" in line]
    assert row.count(" / ") == 5  # the mean and four sites
    assert row.rstrip().endswith("20.67 MB")


def test_the_terminal_shows_a_half_finished_run(run_maker: RunMaker) -> None:
    stream = io.StringIO()
    print_summary(run_maker(finished=False, rounds=2), Console(file=stream, width=100))
    assert "not finished" in stream.getvalue()


def test_wording() -> None:
    assert [size(count) for count in (0, 999, 20_327_824, float("nan"))] == [
        "0 B",
        "999 B",
        "20.33 MB",
        "\u2013",
    ]
    assert [duration(value) for value in (0.42, 13.2, 1312.4, 11040)] == [
        "0.4 s",
        "13 s",
        "21 min 52 s",
        "3 h 04 min",
    ]
    assert (points(0.065), points(-0.02)) == ("+6.5", "\N{MINUS SIGN}2.0")
    assert [standing(value) for value in (0.065, -0.02, 0.0003, -0.0003)] == [
        "6.5 points above",
        "2.0 points below",
        "level with",
        "level with",
    ]
    assert interval(float("nan"), 1.0) == ""
    assert (plural(1, "reply"), plural(2, "reply"), plural(0, "round")) == (
        "1 reply",
        "2 replies",
        "0 rounds",
    )
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert typeset("71.0 % in 3 rounds, 2 MB") == "71.0\u00a0% in 3 rounds, 2\u00a0MB"


def _with_ious(run_maker: RunMaker, **sites: tuple[int, float, float]) -> Path:
    """A run of FedST and FedAvg; of each site the number of cases, and the IoU that each method has on all of them."""
    path = run_maker(methods=("fedst", "fedavg"), folds=0, rounds=1)
    for position, method in enumerate(("fedst", "fedavg")):
        file = path / "runs" / method / "scores.csv"
        scores = pd.read_csv(file)
        chosen = [
            scores[(scores["site"] == site) & scores["case"].str[-1].astype(int).lt(cases)].assign(iou=ious[position])
            for site, (cases, *ious) in sites.items()
        ]
        pd.concat(chosen).to_csv(file, index=False)
    return path

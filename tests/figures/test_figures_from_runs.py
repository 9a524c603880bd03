"""`aira-bench figures` as it is typed: every drawn value is found again in the journals, by hand."""

import csv
import math
import statistics
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from figures.drawn_runs import by_hand, write_suite
from typesetting import typeset

Row = dict[str, str]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a suite was written and drawn as `out`."""
    place = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda fd: None)
        patch.setenv("AIRA_HOME", str(place / "home"))
        write_suite(place / "runs" / "suite", place / "home")
        assert run_command_line(["figures", "suite", "--runs", str(place / "runs"), "--out", str(place / "out")]) == 0
    return place


def rows(drawn: Path, name: str, **wanted: str) -> list[Row]:
    with (drawn / "out" / f"{name}.csv").open(newline="") as stream:
        return [row for row in csv.DictReader(stream) if all(row[key] == value for key, value in wanted.items())]


def scores_of(drawn: Path, agent: str, task: str, scaffold: str = "greedy") -> dict[int, list[float]]:
    found = by_hand(drawn / "runs" / "suite", agent, task, scaffold)
    return {seed: [each[1] for each in steps if each] for seed, steps in found.items()}


def test_every_table_can_be_typeset(drawn: Path, tmp_path: Path) -> None:
    tables = [path.read_text("utf-8") for path in sorted((drawn / "out").glob("*.tex"))]
    assert len(tables) == 7
    typeset(tables, tmp_path)


def test_every_counterpart_is_drawn_in_each_format(drawn: Path) -> None:
    names = {path.name for path in (drawn / "out").iterdir()}
    for figure in (
        "figure08_best_test", "figure09_valid_submissions", "figure10_normalized", "figure11_generalization_gap",
        "figure12_best_bpb", "figure13_trajectories", "figure18_search_mad-2p", "figure20_search_dclm-2p",
        "figure08_best_test_other_tasks",
    ):  # fmt: skip
        assert {f"{figure}.svg", f"{figure}.pdf", f"{figure}.csv"} <= names
    for table in (
        "04_normalized_scores",
        "05_improvement_steps",
        "13_constants_tried",
        "14_best_modules",
        "19_features",
    ):
        assert {f"table{table}.tex", f"table{table}.csv"} <= names
    assert {"table20_toggles.tex", "table21_categories.tex", "README.md"} <= names
    assert not any("figure19" in name for name in names), "no run is on babistories-2p"


def test_figure_8_is_the_mean_over_seeds_of_the_best_test(drawn: Path) -> None:
    for agent in ("opus45", "gpt5"):
        for task, panel, series in (
            ("lra-listops", "ListOps", "non-configurable"),
            ("lra-listops-conf", "ListOps", "configurable"),
            ("lra-text-conf", "Text", "configurable"),
        ):
            (row,) = rows(drawn, "figure08_best_test", panel=panel, series=series, agent=f"{agent}, greedy")
            best = [max(tests) for tests in scores_of(drawn, agent, task).values()]
            assert float(row["value"]) == pytest.approx(statistics.fmean(best), abs=1e-12)
            assert int(row["seeds"]) == 3
            assert (
                min(best) - 1e-12 <= float(row["low"]) < float(row["value"]) < float(row["high"]) <= max(best) + 1e-12
            )
    (once,) = rows(drawn, "figure08_best_test", panel="Text", agent="gpt5, one-shot")
    assert (float(once["value"]), once["low"], once["seeds"]) == (0.3, "", "1"), "one scored seed has no interval"


def test_figure_9_counts_submissions_with_exact_intervals(drawn: Path) -> None:
    (greedy,) = rows(drawn, "figure09_valid_submissions", panel="Text", agent="opus45, greedy")
    (once,) = rows(drawn, "figure09_valid_submissions", panel="Text", agent="gpt5, one-shot")
    assert (float(greedy["value"]), int(greedy["seeds"])) == (1.0, 3)
    assert float(greedy["low"]) == pytest.approx(0.025 ** (1 / 3)), "3 of 3: the cube root of half of 5 %"
    assert float(once["value"]) == pytest.approx(1 / 3)
    # Clopper and Pearson, 1 of 3: P(at least 1) = 1 - (1 - p)^3 = 0.025, and P(at most 1) = (1 - p)^2 (1 + 2 p) = 0.025
    assert 1 - (1 - float(once["low"])) ** 3 == pytest.approx(0.025)
    high = float(once["high"])
    assert (1 - high) ** 2 * (1 + 2 * high) == pytest.approx(0.025)


def normalized(score: float | None) -> float:
    """The paper's equations 2 and 3 with worst 0.1, optimum 1 and state of the art 0.9."""
    if score is None:
        return 0.0
    worst, best = -math.log10(0.9), -math.log10(0.1)
    return max(0.0, (-math.log10(1.0 - score) - worst) / (best - worst))


def submitted(drawn: Path, agent: str, task: str, scaffold: str = "greedy") -> list[float | None]:
    """Of each seed the test score of the step with the best fitness."""
    found = by_hand(drawn / "runs" / "suite", agent, task, scaffold)
    chosen = [[each for each in steps if each] for steps in found.values()]
    return [max(each, key=lambda step: step[0])[1] if each else None for each in chosen]


def mean_normalized(drawn: Path, agent: str, task: str, scaffold: str = "greedy") -> float:
    return statistics.fmean(normalized(score) for score in submitted(drawn, agent, task, scaffold))


def test_figure_10_and_table_4_are_means_of_normalized_scores(drawn: Path) -> None:
    conf = ("lra-listops-conf", "lra-text-conf")
    (row,) = rows(drawn, "figure10_normalized", series="configurable", agent="opus45, greedy")
    by_task = [mean_normalized(drawn, "opus45", task) for task in conf]
    assert float(row["value"]) == pytest.approx(statistics.fmean(by_task), abs=1e-9)
    (once,) = rows(drawn, "figure10_normalized", series="non-configurable", agent="gpt5, one-shot")
    assert float(once["value"]) == pytest.approx(normalized(0.3) / 3, abs=1e-9), "two seeds without a submission are 0"
    (text,) = rows(drawn, "table04_normalized_scores", Task="Text")
    greedy = statistics.fmean(mean_normalized(drawn, agent, conf[1]) for agent in ("opus45", "gpt5"))
    every = statistics.fmean([greedy, greedy, normalized(0.3) / 3])
    assert text["greedy (2), config."].split(" ")[0] == f"{greedy:.3f}"
    assert text["all (3), config."].split(" ")[0] == f"{every:.3f}"
    assert text["all (3), non-config."] == "", "no run is on the text task with fixed constants"


def test_figure_11_has_the_best_the_submitted_and_their_gap(drawn: Path) -> None:
    panel = {"panel": "ListOps, configurable", "agent": "gpt5, greedy"}
    found = {row["series"]: float(row["value"]) for row in rows(drawn, "figure11_generalization_gap", **panel)}
    best = statistics.fmean(max(tests) for tests in scores_of(drawn, "gpt5", "lra-listops-conf").values())
    chosen = statistics.fmean(score for score in submitted(drawn, "gpt5", "lra-listops-conf") if score is not None)
    assert found["best of any step"] == pytest.approx(best, abs=1e-12)
    assert found["submitted"] == pytest.approx(chosen, abs=1e-12)
    assert found["gap"] == pytest.approx(best - chosen, abs=1e-12)
    assert found["gap"] > 0


def test_figure_12_has_a_dot_for_each_seed(drawn: Path) -> None:
    for task, agent in (("autoresearch", "opus45, greedy"), ("autoresearch-lit", "opus45, greedy +Lit")):
        found = {int(row["seed"]): float(row["value"]) for row in rows(drawn, "figure12_best_bpb", agent=agent)}
        assert found == {seed: min(tests) for seed, tests in scores_of(drawn, "opus45", task).items()}
    (baseline,) = rows(drawn, "figure12_best_bpb", agent="published baseline")
    assert float(baseline["value"]) == 1.0121


def test_figure_13_and_table_5_follow_the_best_search_score(drawn: Path) -> None:
    (name,) = {
        row["agent"] for row in rows(drawn, "figure13_trajectories") if row["agent"].startswith("opus45, greedy (")
    }
    seed = int(name.split("seed ")[1].rstrip(")"))
    fitness = [each[0] for each in by_hand(drawn / "runs" / "suite", "opus45", "autoresearch")[seed] if each]
    found = [(int(row["step"]), float(row["value"])) for row in rows(drawn, "figure13_trajectories", agent=name)]
    assert found == list(enumerate(fitness, start=1)), "every step of it improves"
    steps = rows(drawn, "table05_improvement_steps", Agent="opus45, greedy")
    assert [row["Search score"] for row in steps] == [f"{value:.4f}" for value in fitness]
    assert [row["Gain"] for row in steps] == ["", *["0.0050"] * 5]
    # Step i left SCRIPTS[i % 3]: 1 has depth 10, 2 also another pattern, rate and z-loss, 3 is the first script again.
    assert steps[0]["Features changed"] == "first valid step"
    assert steps[1]["Features changed"] == "window_pattern SSSL to SL, matrix_lr 0.04 to 0.05, z_loss on"
    assert "depth 10 to 8" in steps[2]["Features changed"]
    assert steps[3]["Features changed"] == "depth 8 to 10"


def test_tables_19_to_21_count_what_the_steps_changed(drawn: Path) -> None:
    """Six seeds, five improvement steps each: 1 to 2, 2 to 3, 3 to 4, 4 to 5, 5 to 6, of 0.005 each."""
    (depth,) = rows(drawn, "table19_features", Feature="depth")
    assert (depth["Count"], depth["Solo"], depth["Median gain"]) == ("18", "6", "0.0050"), "2 to 3, 3 to 4, 5 to 6"
    (loss,) = rows(drawn, "table20_toggles", Feature="z_loss")
    assert (loss["Added"], loss["Removed"]) == ("12", "12")
    (widths,) = rows(drawn, "table21_categories", Category="Depth / width")
    assert (widths["Count"], widths["Share of improvements"]) == ("18", "60 %")


def test_table_13_has_ranges_and_table_14_the_best_module(drawn: Path) -> None:
    (layers,) = rows(drawn, "table13_constants_tried", Parameter="NUM_LAYERS")
    assert (layers["ListOps, range"], layers["ListOps, values"]) == ("2 to 6", "2")
    (size,) = rows(drawn, "table13_constants_tried", Parameter="BATCH_SIZE")
    assert (size["Text, range"], size["Text, values"]) == ("32 to 32", "1")
    (best,) = rows(drawn, "table14_best_modules", Task="Text", Setup="configurable")
    every = [
        score
        for agent, scaffold in (("opus45", "greedy"), ("gpt5", "greedy"), ("gpt5", "one-shot"))
        for tests in scores_of(drawn, agent, "lra-text-conf", scaffold).values()
        for score in tests
    ]
    assert best["Test"] == f"{max(every):.4f}"
    assert best["State of the art"] == "0.9000"
    step = int(best["Run, seed:step"].rpartition(":")[2])
    assert best["Mechanisms its code names"].split(", ")[0] == ("linear attention", "convolution")[step % 2]
    assert best["Constants"].startswith(f"NUM_LAYERS {(2, 6)[step % 2]}, LR")


def test_figure_18_has_every_step_and_the_mean_of_what_would_be_submitted(drawn: Path) -> None:
    steps = by_hand(drawn / "runs" / "suite", "gpt5", "mad-2p")
    agent = {"agent": "gpt5, greedy"}
    dots = rows(drawn, "figure18_search_mad-2p", kind="scored step", **agent)
    assert {(int(row["seed"]), int(row["step"]), float(row["value"])) for row in dots} == {
        (seed, number, each[1]) for seed, found in steps.items() for number, each in enumerate(found, start=1) if each
    }
    curve = {
        int(row["step"]): float(row["value"])
        for row in rows(drawn, "figure18_search_mad-2p", kind="mean submitted", **agent)
    }
    first = max(next(number for number, each in enumerate(found, start=1) if each) for found in steps.values())
    assert sorted(curve) == list(range(first, 9))
    for step, value in curve.items():
        chosen = [max((each for each in found[:step] if each), key=lambda each: each[0])[1] for found in steps.values()]
        assert value == pytest.approx(statistics.fmean(chosen), abs=1e-12)
    losses = rows(drawn, "figure20_search_dclm-2p", kind="mean submitted")
    assert int(losses[0]["step"]) == 2, "the second seed has nothing to submit after one step"
    assert "nats a token, lower is better" in losses[0]["measure"]


def test_the_page_says_of_what_runs_how_many_and_what_intervals_mean(drawn: Path) -> None:
    text = (drawn / "out" / "README.md").read_text()
    for said in (
        "hidden test scores", "profile paper", "95 % percentile intervals of seeds drawn anew", "n = 1 to 3", "From 9 runs",
        "One set of hidden data, so nothing to confirm.", "no run is on babistories-2p", "## Runs",
    ):  # fmt: skip
        assert said in text, said

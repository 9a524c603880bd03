"""Orders of boards: which seeds are compared, by which scores, and that ties stay ties."""

import json
import math
import shutil
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from aira_bench.boards.board import Table
from aira_bench.boards.formats import records, to_markdown
from aira_bench.boards.order import order_lines, order_of, order_records, with_ranks
from aira_bench.boards.replicates import SeedResult
from aira_bench.boards.rows import Row, row_of
from aira_bench.cli.main import run_command_line
from aira_bench.record.node import ModelUse
from aira_bench.tasks.measured_noise import MeasuredNoise
from boards.made_boards import BPB, ENDED, ENTRY, MAD, NEVER_ENDED, PLAIN
from recorded.shown import HERE as RECORDED


def seed(number: int, **changes: object) -> SeedResult:
    """A seed whose trainings all came to `score`, unless a test says what they came to; without either, one that failed."""
    score = changes.pop("score", None)
    given = {"trainings": () if score is None else (score,) * 3, "test": score, **changes}
    return replace(PLAIN, seed=number, model_use=ModelUse(), **given)  # type: ignore[arg-type]


def row(agent: str, results: Mapping[int, SeedResult]) -> Row:
    return row_of(
        replace(ENTRY, agent=agent), {number: [each] for number, each in results.items()}, dict.fromkeys(results, 0)
    )


def agent(name: str, scores: list[float]) -> Row:
    return row(name, {number: seed(number, score=score) for number, score in enumerate(scores)})


def test_what_can_be_told_apart_is_ordered_and_what_cannot_is_tied() -> None:
    low, high = [0.5 + place / 1000 for place in range(12)], [0.7 + place / 1000 for place in range(12)]
    table = Table(MAD, (agent("a", high), agent("b", [score + 0.0001 * (-1) ** place for place, score in enumerate(high)]),
                        agent("c", low)))  # fmt: skip
    found = order_of(table)
    assert [str(each.rank) for each in found.rows] == ["1-2", "1-2", "3"]
    assert found.rows[2].score is not None
    assert found.rows[2].score.value == pytest.approx(0.5055)
    lines = order_lines(found)
    assert lines[0] == "Order by confirmed scores:"
    assert "2 of 3 pairs are told apart" in lines[4]
    assert lines[5] == "  1: not significant"


def test_of_a_loss_the_lower_is_the_first() -> None:
    found = order_of(Table(BPB, (agent("a", [1.0 + i / 1000 for i in range(8)]), agent("b", [2.0] * 8))))
    assert [str(each.rank) for each in found.rows] == ["1", "2"]
    assert found.comparisons[0].difference == pytest.approx(2 - 1.0035)
    assert found.rows[0].score is not None
    assert found.rows[0].score.value == pytest.approx(1.0035)


def test_a_failure_counts_as_the_worst_and_what_is_unknown_does_not_count() -> None:
    """One seed scored 0.4, two failed, one was lost to infrastructure."""
    first = row("a", {
        0: seed(0, score=0.4), 1: seed(1, submitted=None),
        3: replace(NEVER_ENDED, seed=3, ended=True, steps=4, infra_errors=4),
        5: seed(5, score=0.99, unranked=("hard_wired",)),
    })  # fmt: skip
    found = order_of(Table(MAD, (first, agent("b", [0.2]))))
    assert found.rows[0].failed == 2
    assert found.rows[0].score is not None
    assert (found.rows[0].score.value, found.rows[0].score.count) == (pytest.approx((0.4 + 0.2 + 0.2) / 3), 3)
    assert (found.comparisons[0].blocks, found.comparisons[0].difference) == (1, pytest.approx(0.2))


def test_only_confirmed_rows_are_compared_and_by_those_scores() -> None:
    first = row("a", {0: seed(0, score=0.3, test=0.9), 1: seed(1, score=0.3, test=0.9)})
    second = row("b", {0: seed(0, score=0.5, test=0.1), 1: seed(1, score=0.5, test=0.1)})
    chosen = row("c", {0: seed(0, score=0.9), 1: replace(ENDED, seed=1, trainings=(0.9, 0.9))})
    found = order_of(Table(MAD, (first, second, chosen)))
    assert [each.entry.agent for each in found.rows] == ["a", "b"]
    assert (found.basis, found.apart) == ("confirmed", 1)
    assert (found.comparisons[0].blocks, found.comparisons[0].difference) == (2, pytest.approx(-0.2))
    assert "1 more rows are not, or not wholly, confirmed" in "\n".join(order_lines(found))


def test_a_difference_that_training_explains_is_a_tie() -> None:
    """Twelve seeds of three trainings: by a floor of 0.5 with 27 degrees of freedom equals differ by up to 0.242."""
    noise = MeasuredNoise(deviation=0.5, artifacts=3, trainings=30, measured="2026-01-01", hardware="a processor")
    near, far = ([base + place / 1000 for place in range(12)] for base in (0.3, 0.5))
    rows = (agent("a", far), agent("b", near))
    assert order_of(Table(MAD, rows)).comparisons[0].verdict == "first is better"
    found = order_of(Table(MAD, rows, noise))
    assert found.comparisons[0].why == "within the noise of training"
    least = stats.t.ppf(0.975, 27) * 0.5 * math.sqrt(2 / 36)
    beyond = (agent("a", [score + least for score in near]), agent("b", near))
    assert order_of(Table(MAD, beyond, noise)).comparisons[0].why == "within the noise of training"
    beyond = (agent("a", [score + 1.001 * least for score in near]), agent("b", near))
    assert order_of(Table(MAD, beyond, noise)).comparisons[0].why == ""


def test_the_luck_of_one_artifact_that_many_seeds_submit_counts_once() -> None:
    """Ten seeds of the baseline are three trainings and no thirty: with a floor of 0.021 of 41 degrees of freedom its mean
    and that of ten artifacts of three trainings each differ by up to t * 0.021 * sqrt(1 / 3 + 1 / 30) = 0.0257. Counted
    as thirty that would be 0.0110, and 0.02 an order.
    """
    noise = MeasuredNoise(deviation=0.021, artifacts=41, trainings=82, measured="2026-01-01", hardware="a processor")
    least = stats.t.ppf(0.975, 41) * 0.021 * math.sqrt(1 / 3 + 1 / 30)
    assert least == pytest.approx(0.0257, abs=5e-5)

    def why(difference: float) -> str:
        baseline = row("baseline", {number: seed(number, trainings=(0.48, 0.50, 0.52)) for number in range(10)})
        mean = 0.5 + difference
        others = {n: seed(n, trainings=(mean - (n + 1) / 1e4, mean, mean + (n + 1) / 1e4)) for n in range(10)}
        return order_of(Table(MAD, (row("random", others), baseline), noise)).comparisons[0].why

    assert why(0.02) == why(0.999 * least) == "within the noise of training"
    assert why(1.001 * least) == ""


def test_a_seed_that_is_run_again_moves_neither_level() -> None:
    """Seed 0 came to 0.9 in each of 20 runs, seed 1 to 0.1 in one: what draws both is about their mean, as the row is.
    Runs that came to the same trainings are one search; others of that seed are searches of their own.
    """
    lucky, other = (0.89, 0.9, 0.91), (0.09, 0.1, 0.11)
    once = {0: [seed(0, trainings=lucky)], 1: [seed(1, trainings=other)]}
    again = {**once, 0: [seed(0, trainings=lucky, run_id=str(number)) for number in range(20)]}
    rows = [row_of(ENTRY, results, dict.fromkeys(results, 0)) for results in (once, again)]
    first, second = (order_of(Table(MAD, (each,))).rows[0] for each in rows)
    for found in (first, second):
        assert found.levels is not None
        assert found.score is not None
        assert found.levels.mean.value == pytest.approx(found.score.value) == pytest.approx(0.5)
        assert found.levels.search_deviation == pytest.approx(math.sqrt(0.32 - 0.0001 / 3))
    assert rows[0].spread == rows[1].spread
    third = row_of(ENTRY, {0: [*once[0], seed(0, trainings=(0.5, 0.5, 0.5))], 1: once[1]}, {0: 0, 1: 0})
    assert third.spread.search == pytest.approx(math.sqrt(0.16 - 0.0002 / 3 / 3))


def test_where_no_floor_was_measured_the_trainings_at_hand_are_one() -> None:
    """Each seed's trainings lie 0.4 about their mean: with 24 seeds of 3, 48 degrees of freedom."""

    def noisy(name: str, base: float) -> Row:
        apart = [0.4 + (number - 5.5) / 1e9 for number in range(12)]  # the same to the last digit would be one artifact
        return row(name, {n: seed(n, trainings=(base - each, base, base + each)) for n, each in enumerate(apart)})

    found = order_of(Table(MAD, (noisy("a", 0.55), noisy("b", 0.5))))
    assert found.floor is not None
    assert (found.floor.deviation, found.floor.freedom) == (pytest.approx(0.4), 48)
    assert found.comparisons[0].why == "within the noise of training"
    levels = found.rows[0].levels
    assert levels is not None
    assert (levels.search_deviation, levels.training_deviation) == (0.0, pytest.approx(0.4))
    assert "spread of search 0.0000 and of training 0.4000" in order_lines(found)[1]


def test_boards_have_the_ranks_that_ties_leave_open() -> None:
    high = [0.7 + place / 1000 for place in range(12)]
    table = Table(MAD, (agent("a", high), agent("b", high), agent("c", [0.1] * 12), row("d", {0: ENDED})))
    (ranked,) = with_ranks([table])
    assert [each.rank for each in ranked.rows] == ["1-2", "1-2", "3", ""]
    assert "| 1-2 |" in to_markdown([ranked])
    assert [record["rank"] for record in records([ranked])] == ["1-2", "1-2", "3", None]


def test_the_same_runs_give_the_same_figures_and_no_runs_give_none() -> None:
    table = Table(MAD, (agent("a", [0.1, 0.2, 0.4]), agent("b", [0.3, 0.1, 0.2])))
    assert order_records([order_of(table)]) == order_records([order_of(table)])
    empty = order_of(Table(MAD, (row("a", {0: NEVER_ENDED}),)))
    assert (empty.rows, empty.apart) == ((), 1)
    failed = order_of(Table(MAD, (row("a", {0: seed(0, submitted=None)}),)))
    assert failed.rows[0].score is None
    assert "no score" in order_lines(failed)[1]


def test_the_command_prints_orders_beside_the_board(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(RECORDED / "greedy-mad-2p", tmp_path / "runs" / "greedy-mad-2p")
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    assert run_command_line(["leaderboard", "--statistics", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(each["rows"], each["rows_apart"]) for each in shown["orders"]] == [([], 1)], "nobody has confirmed it"
    assert shown["rows"][0]["agent"] == "gemini3pro"


def test_without_the_libraries_the_command_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run_command_line(["leaderboard", "--statistics"]) == 3
    assert "pip install 'aira-bench[stats]'" in capsys.readouterr().err


def test_rows_that_differ_in_one_thing_are_named_by_it_where_they_stand_without_columns() -> None:
    rows = [replace(agent("a", [0.5, 0.6]), differs_in=said) for said in ("memory paper", "memory none")]
    found = order_of(Table(MAD, tuple(rows)))
    assert [each.name for each in found.rows] == ["a, linear, memory paper", "a, linear, memory none"]
    assert "a, linear, memory none: " in order_lines(found)[2]
    (record,) = order_records([found])
    assert [row["name"] for row in record["rows"]] == [each.name for each in found.rows]  # type: ignore[attr-defined]


def test_a_family_of_many_rows_is_tested_in_little_memory() -> None:
    """All 2 ** 15 patterns of 780 pairs at once took 200 MiB, several times over."""
    rows = [agent(f"a{number:02}", [0.1 * number + seed / 1000 for seed in range(16)]) for number in range(40)]
    tracemalloc.start()
    found = order_of(Table(MAD, tuple(rows)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [str(each.rank) for each in found.rows] == [str(40 - number) for number in range(40)]
    assert peak < 200 * 2**20

"""Orders of boards: which seeds are compared, by which scores, and that ties stay ties."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from aira_bench.boards.board import Table
from aira_bench.boards.order import order_lines, order_of, order_records
from aira_bench.boards.rows import Row, SeedResult, row_of
from aira_bench.cli.main import run_command_line
from aira_bench.record.node import ModelUse
from boards.made_boards import BPB, ENDED, ENTRY, MAD, NEVER_ENDED, PLAIN
from recorded.shown import HERE as RECORDED


def seed(number: int, **changes: object) -> SeedResult:
    return replace(PLAIN, seed=number, model_use=ModelUse(), **{"confirmed": None, **changes})  # type: ignore[arg-type]


def row(agent: str, results: Mapping[int, SeedResult]) -> Row:
    return row_of(
        replace(ENTRY, agent=agent), {number: [each] for number, each in results.items()}, dict.fromkeys(results, 0)
    )


def agent(name: str, scores: list[float]) -> Row:
    return row(name, {number: seed(number, test=score) for number, score in enumerate(scores)})


def test_what_can_be_told_apart_is_ordered_and_what_cannot_is_tied() -> None:
    low, high = [0.5 + place / 1000 for place in range(12)], [0.7 + place / 1000 for place in range(12)]
    table = Table(MAD, (agent("a", high), agent("b", [score + 0.0001 * (-1) ** place for place, score in enumerate(high)]),
                        agent("c", low)))  # fmt: skip
    found = order_of(table)
    assert [str(each.rank) for each in found.rows] == ["1-2", "1-2", "3"]
    assert found.rows[2].score is not None
    assert found.rows[2].score.value == pytest.approx(0.5055)
    lines = order_lines(found)
    assert "not confirmed: they inherit the luck of the search" in lines[0]
    assert "2 of 3 pairs are told apart" in lines[4]
    assert lines[5] == "  1: not significant"


def test_of_a_loss_the_lower_is_the_first() -> None:
    found = order_of(Table(BPB, (agent("a", [1.0 + i / 1000 for i in range(8)]), agent("b", [2.0] * 8))))
    assert [str(each.rank) for each in found.rows] == ["1", "2"]
    assert found.comparisons[0].difference == pytest.approx(2 - 1.0035)
    assert found.rows[0].score is not None
    assert found.rows[0].score.value == pytest.approx(1.0035)


def test_a_failure_counts_as_the_worst_and_what_is_unknown_does_not_count() -> None:
    """Two seeds scored 0.2 and 0.4, one failed, one was lost to infrastructure, one never ended, one awaits confirmation."""
    first = row("a", {
        0: seed(0, test=0.4), 1: seed(1, submitted=None, test=None), 2: replace(NEVER_ENDED, seed=2),
        3: replace(NEVER_ENDED, seed=3, ended=True, steps=4, infra_errors=4),
        4: replace(ENDED, seed=4, test=0.9, awaits_confirm=True), 5: seed(5, test=0.99, unranked=("hard_wired",)),
    })  # fmt: skip
    found = order_of(Table(MAD, (first, agent("b", [0.2]))))
    assert found.rows[0].failed == 2
    assert found.rows[0].score is not None
    assert (found.rows[0].score.value, found.rows[0].score.count) == (pytest.approx((0.4 + 0.2 + 0.2) / 3), 3)
    assert (found.comparisons[0].blocks, found.comparisons[0].difference) == (1, pytest.approx(0.2))


def test_confirmed_scores_are_compared_where_there_are_any() -> None:
    first = row("a", {0: seed(0, test=0.9, confirmed=0.3), 1: seed(1, test=0.9)})
    found = order_of(Table(MAD, (first, row("b", {0: seed(0, test=0.1, confirmed=0.5), 1: seed(1, test=0.2)}))))
    assert found.basis == "confirmed"
    assert (found.comparisons[0].blocks, found.comparisons[0].difference) == (1, pytest.approx(-0.2))


def test_the_same_runs_give_the_same_figures_and_no_runs_give_none() -> None:
    table = Table(MAD, (agent("a", [0.1, 0.2, 0.4]), agent("b", [0.3, 0.1, 0.2])))
    assert order_records([order_of(table)]) == order_records([order_of(table)])
    empty = order_of(Table(MAD, (row("a", {0: NEVER_ENDED}),)))
    assert empty.rows[0].score is None
    assert "no score" in order_lines(empty)[1]


def test_the_command_prints_orders_beside_the_board(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(RECORDED / "greedy-mad-2p", tmp_path / "runs" / "greedy-mad-2p")
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    assert run_command_line(["leaderboard", "--statistics", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [each["basis"] for each in shown["orders"]] == ["test"]
    assert shown["orders"][0]["rows"][0]["best_rank"] == 1
    assert shown["rows"][0]["agent"] == "gemini3pro"


def test_without_the_libraries_the_command_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run_command_line(["leaderboard", "--statistics"]) == 3
    assert "pip install 'aira-bench[stats]'" in capsys.readouterr().err

"""Who is one agent on several tasks: what a task decides tells nobody apart, and everything else does."""

from pathlib import Path
from typing import Any

import pytest

from aira_bench.boards.board import build_tables
from aira_bench.boards.board_runs import BoardRuns
from aira_bench.boards.over_tasks import OverTasks, over_tasks
from aira_bench.boards.players import player_names
from aira_bench.keys import KeyRing, MachineKey
from aira_bench.record.run_record import read_run
from generated_runs import manifest, write_run

KEY = MachineKey(b"0" * 32)
RING = KeyRing(KEY.public)
HOT, COLD = {"card": {"sampling": {"temperature": 1.0}}}, {"card": {"sampling": {"temperature": 0.1}}}
Run = tuple[str, dict[str, Any]]


def said(path: Path, *runs: Run) -> tuple[list[tuple[str, ...]], list[OverTasks]]:
    """Names of the rows of each table, and what is said over tasks."""
    folders = []
    for index, (task, changes) in enumerate(runs):
        record = manifest(f"r{index}", seeds=(0, 1), steps=1, agent="gpt", trainings=0, task_title=task, task_name=task)
        plan = record.plan.model_copy(update=changes.get("plan", {}))
        rest = {name: value for name, value in changes.items() if name != "plan"}
        record = record.model_validate(record.model_dump(mode="python") | rest | {"plan": plan})
        folders.append(write_run(path, record, invalid_share=0.0, key=KEY))
    records = [read_run(folder, RING) for folder in folders]
    tables = build_tables(folders, RING)
    return player_names(tables), over_tasks(tables, BoardRuns.of(records))


def test_two_experiments_are_two_agents_though_each_ran_a_task_of_its_own(tmp_path: Path) -> None:
    """They were one, and its rating was of both."""
    names, (found,) = said(tmp_path, ("a", HOT), ("b", COLD))
    assert names == [("gpt, greedy, sampling temperature 1.0",), ("gpt, greedy, sampling temperature 0.1",)]
    assert len(found.agents) == 2


def test_one_experiment_is_one_agent_though_a_variant_of_it_ran_one_of_the_tasks(tmp_path: Path) -> None:
    """It had two names, as rows are told apart within their table, and so two ratings of half of its runs."""
    names, (found,) = said(tmp_path, ("a", HOT), ("a", COLD), ("b", HOT))
    assert sorted(names[0]) == ["gpt, greedy, sampling temperature 0.1", "gpt, greedy, sampling temperature 1.0"]
    assert names[1] == ("gpt, greedy, sampling temperature 1.0",)
    assert len(found.agents) == 2


@pytest.mark.parametrize(
    "of_task",
    [{"plan": {"hours": 60.0}}, {"plan": {"steps": 7}}, {"plan": {"step_timeout_s": 9.0}},
     {"limits": {"memory_mib": 512.0}}, {"limits": {"fit.budget_s": 300.0}}, {"description_sha256": "1" * 64}],
)  # fmt: skip
def test_what_a_task_decides_tells_no_agents_apart(tmp_path: Path, of_task: dict[str, Any]) -> None:
    names, (found,) = said(tmp_path, ("a", {}), ("b", of_task))
    assert names == [("gpt, greedy",), ("gpt, greedy",)]
    assert found.agents == ("gpt, greedy",)


@pytest.mark.parametrize("of_rows", [{"plan": {"hours": 60.0}}, {"description_sha256": "1" * 64}])
def test_what_tells_rows_of_one_task_apart_tells_agents_apart(tmp_path: Path, of_rows: dict[str, Any]) -> None:
    names, (found,) = said(tmp_path, ("a", {}), ("a", of_rows), ("b", {}))
    assert len(set(names[0])) == 2
    assert names[1][0] in names[0]
    assert len(found.agents) == 2


def test_no_table_stands_in_the_place_of_another_of_the_same_heading(tmp_path: Path) -> None:
    """Tasks of one title whose names differ: of two such tables one was left out without a word."""
    names, (found,) = said(tmp_path, ("a", {}), ("a", HOT | {"task_name": "another"}))
    assert (len(names), len(found.tasks), len(found.agents)) == (2, 2, 2)

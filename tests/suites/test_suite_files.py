"""What a suite's file says: the paper's matrices, cells and their names, and errors that name line and key."""

from collections import Counter
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.errors import UsageError
from aira_bench.suites.suite_file import SuitePlan, read_suite, select, shipped_suites

SMALL = """
title = "Two searchers on MAD"
profile = "cpu"

[[matrix]]
agents = ["random", "evolution"]
tasks = ["mad-2p", "mad-3p"]
seeds = 2
steps = 3
"""


def written(folder: Path, text: str) -> SuitePlan:
    (folder / "mine.toml").write_text(text)
    return read_suite(str(folder / "mine.toml"))


def searches(plan: SuitePlan, **wishes: object) -> int:
    return sum(
        len(cell.request.seeds or ())
        for cell in plan.cells
        if all(getattr(cell.request, name) == value for name, value in wishes.items())
    )


def test_the_papers_matrices_ship() -> None:
    """Section 6: 340 searches of 24 h and 300 of 60 h by 11 agents; 1,680 by 20, of which 720 greedy; 100 by 10."""
    assert shipped_suites() == ["autoresearch", "compose", "lra"]
    compose, lra, autoresearch = (read_suite(name) for name in ("compose", "lra", "autoresearch"))
    assert tuple(map(searches, (compose, lra, autoresearch))) == (640, 1680, 100)
    assert (searches(compose, hours=24), searches(compose, hours=60)) == (340, 300)
    assert (searches(compose, agent="gpt5"), searches(compose, task="babistories-2p")) == (40, 150)
    assert (searches(lra, scaffold="greedy"), searches(lra, scaffold="one-shot")) == (720, 960)
    assert (searches(autoresearch, task="autoresearch"), searches(autoresearch, task="autoresearch-lit")) == (70, 30)
    for plan, agents in ((compose, 11), (lra, 20)):
        assert len({(cell.request.agent, cell.request.scaffold) for cell in plan.cells}) == agents
    assert len(autoresearch.cells) == 10
    for plan in (compose, lra, autoresearch):
        for cell in plan.cells:
            assert cell.request.profile == "paper"
            assert cell.request.steps == 500
            assert (
                len(cell.request.seeds or ()) == 20
                if "one-shot" in cell.name
                else len(cell.request.seeds or ()) in (10, 20)
            )


def test_each_greedy_run_of_an_agent_has_ten_seeds_on_lra() -> None:
    found = Counter((cell.request.scaffold, len(cell.request.seeds or ())) for cell in read_suite("lra").cells)
    assert found == {("greedy", 10): 72, ("one-shot", 20): 48}


def test_cells_are_agents_by_tasks_task_by_task(tmp_path: Path) -> None:
    plan = written(tmp_path, SMALL)
    assert [cell.name for cell in plan.cells] == [
        "random-mad-2p", "evolution-mad-2p", "random-mad-3p", "evolution-mad-3p",
    ]  # fmt: skip
    assert {(cell.request.seeds, cell.request.steps, cell.request.profile) for cell in plan.cells} == {
        ((0, 1), 3, "cpu")
    }
    assert plan.name == "mine"
    assert searches(plan) == 8


def test_what_a_matrix_leaves_out_is_what_run_leaves_out(tmp_path: Path) -> None:
    (cell,) = written(tmp_path, 'title="t"\n[[matrix]]\nagents=["random"]\ntasks=["mad-2p"]\n').cells
    assert (cell.request.seeds, cell.request.profile) == (None, "paper"), "the protocol's seeds"
    assert (cell.request.steps, cell.request.hours, cell.request.scaffold) == (None, None, None)


def test_a_part_of_a_suite_is_chosen_by_name(tmp_path: Path) -> None:
    plan = written(tmp_path, SMALL)
    assert [cell.name for cell in select(plan, agents=["random"]).cells] == ["random-mad-2p", "random-mad-3p"]
    assert [cell.name for cell in select(plan, ["random"], ["mad-3p"]).cells] == ["random-mad-3p"]
    assert select(plan) == plan
    with pytest.raises(UsageError, match=r"no agent 'gpt5'\. It has: evolution, random"):
        select(plan, agents=["gpt5"])
    with pytest.raises(UsageError, match="no task 'lra-text'"):
        select(plan, tasks=["lra-text"])


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("agents = [", "agnets = ["), ["line 6, matrix[0].agnets", "did you mean 'agents'"]),
        (('agents = ["random", "evolution"]\n', ""), ["line 5, matrix[0].agents", "this key is missing"]),
        (('title = "Two searchers on MAD"\n', ""), ["title", "this key is missing"]),
        (("seeds = 2", 'seeds = "2"'), ["line 8, matrix[0].seeds", "seen: '2'"]),
        (("seeds = 2", "seeds = 0"), ["line 8, matrix[0].seeds"]),
        (("seeds = 2", "seeds = [1, -1]"), ["line 8, matrix[0].seeds", "greater than or equal to 0"]),
        (("seeds = 2", "seeds = true"), ["line 8, matrix[0].seeds"]),
        (("seeds = 2", "seeds = 1001"), ["line 8, matrix[0].seeds", "1 to 1,000 seeds"]),
        (("seeds = 2", "seeds = 1000000000000"), ["line 8, matrix[0].seeds: expected 1 to 1,000 seeds"]),
        (("seeds = 2", "seeds = [1, 1]"), ["line 8, matrix[0].seeds: a seed stands twice"]),
        (("steps = 3", 'scaffold = "greeedy"'), ["Unknown scaffold 'greeedy'", "'greedy'"]),
        (("steps = 3", 'evaluator = "nosuch"'), ["Unknown evaluator 'nosuch'"]),
        (("tasks = [", "tasks = 7 # ["), ["line 7, matrix[0].tasks: expected a list"]),
        (("steps = 3", "steps = 3.5"), ["line 9, matrix[0].steps", "seen: '3.5'"]),
        (("steps = 3", "hours = nan"), ["line 9, matrix[0].hours", "finite"]),
        (("steps = 3", "colour = 1"), ["line 9, matrix[0].colour", "unknown key, expected one of"]),
        (("steps = 3", 'fitness = "test"'), ["line 9, matrix[0].fitness", "'hidden' or 'claimed'"]),
        (('profile = "cpu"', 'profile = "gpu"'), ["line 3, profile", "'paper' or 'cpu'", "seen: 'gpu'"]),
        (('"mad-3p"]', '"mad3p"]'), ["line 7, matrix[0].tasks", "Unknown task 'mad3p'", "'mad-3p'"]),
        (('"evolution"]', "7]"), ["line 6, matrix[0].agents", "seen: '7'"]),
        (('["random", "evolution"]', "[]"), ["line 6, matrix[0].agents", "at least 1"]),
        (('["random", "evolution"]', '["random", "random"]'), ["two runs of the name 'random-mad-2p'", "label"]),
        (("[[matrix]]", "[[matrix]"), ["no TOML file", "line 5"]),
        (("[[matrix]]", "[[matrices]]"), ["matrices", "did you mean 'matrix'"]),
        (("[[matrix]]", "[matrix]"), ["line 5, matrix: expected [[matrix]], in two brackets"]),
        ((SMALL, ""), ["title", "this key is missing"]),
        ((SMALL, "title = " + "[" * 5000 + "]" * 5000), ["no TOML file"]),
        ((SMALL, 'title = "\x00"'), ["no TOML file"]),
    ],
)  # fmt: skip
def test_errors_name_line_and_key_and_what_to_type(
    tmp_path: Path, change: tuple[str, str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(SMALL.replace(*change))
    assert run_command_line(["suite", str(tmp_path / "mine.toml"), "--dry-run"]) == 2
    shown = capsys.readouterr()
    (said,) = shown.err.splitlines()
    assert said.startswith("aira-bench: error: ")
    assert all(part in said for part in parts), said
    assert "after validation" not in said or "agents" in said, "what is wrong is said once"


@pytest.mark.parametrize("name", ["../elsewhere", "..", ".", "", "/tmp/elsewhere", "a/b", "a b"])
def test_a_suite_stays_in_the_folder_of_runs(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`.` put its cells among the runs, and `..` beside them."""
    (tmp_path / "mine.toml").write_text(SMALL)
    assert run_command_line(["suite", str(tmp_path / "mine.toml"), "--dry-run", "--name", name]) == 2
    assert f"{name!r} cannot name a suite" in capsys.readouterr().err


def test_the_second_matrix_is_found_by_its_own_lines(tmp_path: Path) -> None:
    second = '\n[[matrix]]\nagents = ["random"]\ntasks = ["lra-text"]\nsteps = 0\n'
    with pytest.raises(UsageError, match=r"line 14, matrix\[1\].steps"):
        written(tmp_path, SMALL + second)


def test_a_label_tells_two_matrices_of_one_agent_apart(tmp_path: Path) -> None:
    second = '\n[[matrix]]\nlabel = "long"\nagents = ["random"]\ntasks = ["mad-2p"]\nsteps = 9\n'
    names = [cell.name for cell in written(tmp_path, SMALL + second).cells]
    assert names.count("random-mad-2p-long") == 1


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.toml"):
        with pytest.raises(UsageError, match="Shipped are: autoresearch, compose, lra"):
            read_suite(str(path))
    (tmp_path / "big.toml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(UsageError, match="at most 1,048,576"):
        read_suite(str(tmp_path / "big.toml"))

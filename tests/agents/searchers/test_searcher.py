"""Searchers know spaces and no artifact; solutions are written and read in one form."""

import ast
import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.agents.agent import Brief, Proposal, Situation
from aira_bench.agents.catalog import SEARCHERS, SPACES, agent_rows, find_agent
from aira_bench.agents.searchers import bayes
from aira_bench.agents.searchers.architectures import write_solution as write_architecture
from aira_bench.agents.searchers.architectures import written_architecture
from aira_bench.agents.searchers.modules import read_genome
from aira_bench.agents.searchers.scripts import submitted_script
from aira_bench.agents.searchers.scripts import write_solution as write_script
from aira_bench.agents.searchers.searcher import FRESH_TRIES, Searcher, evolve, submit_baseline, untried
from aira_bench.agents.searchers.solution import SolutionForm
from aira_bench.errors import PrerequisiteError, RunStateError, UsageError
from aira_bench.record.folder import StepFiles
from aira_bench.scaffolds.policy import Crossover, Debug, Draft, Improve, Proposing
from aira_bench.tasks.artifact_spec import ArtifactSpec

SPEC = ArtifactSpec(kind="architecture", layers=4, primitives=("M", "mA"))
BRIEF = Brief("task", "", SPEC, "Accuracy", False, "cpu", "hidden", 60.0, 1024)


def situation(action: Proposing, code: str = "") -> Situation:
    return Situation(action, (), lambda step: StepFiles(code, "", ""), random.Random(0), 5, 100.0)


@dataclass(frozen=True)
class Words:
    """A space of somebody's own: it says what it is asked for."""

    def baseline(self) -> Proposal:
        return Proposal("", "baseline")

    def random(self) -> Proposal:
        return Proposal("", "random")

    def start(self) -> Proposal:
        return Proposal("", "start")

    def child(self, parents: tuple[int, ...]) -> Proposal:
        return Proposal("", f"child of {parents}")


@pytest.mark.parametrize(
    ("action", "plan"),
    [
        (Draft(), "start"), (Debug((3,)), "start"), (Improve((2,)), "child of (2,)"),
        (Crossover((1, 2)), "child of (1, 2)"),
    ],
)  # fmt: skip
def test_evolution_is_the_same_in_every_space(action: Proposing, plan: str) -> None:
    mine = Searcher("mine", "", "greedy", evolve, {"architecture": lambda brief, situation, agent: Words()})
    assert mine.propose(BRIEF, situation(action)).plan == plan


@pytest.mark.parametrize("action", [Draft(), Debug((3,)), Improve((2,)), Crossover((1, 2))])
def test_a_baseline_stays_one_whatever_is_asked(action: Proposing) -> None:
    mine = Searcher("mine", "", "greedy", submit_baseline, {"architecture": lambda brief, situation, agent: Words()})
    assert mine.propose(BRIEF, situation(action)).plan == "baseline"


@pytest.mark.parametrize("name", ["baseline", "random", "evolution"])
def test_an_artifact_without_a_space_is_refused_with_those_that_have_one(name: str) -> None:
    table = replace(BRIEF, artifact=ArtifactSpec(name="submission.csv"))
    with pytest.raises(UsageError) as caught:
        SEARCHERS[name].propose(table, situation(Draft()))
    assert all(kind in caught.value.message for kind in SPACES)
    assert caught.value.hint == "aira-bench run --agent script:FILE.py --task task"


@pytest.mark.parametrize("kind", ["module", "script"])
def test_a_parent_that_another_agent_wrote_is_named(kind: str) -> None:
    brief = replace(BRIEF, artifact=ArtifactSpec(name="x.py", kind=kind, module_layers={"cpu": 2}))  # type: ignore[arg-type]
    with pytest.raises(RunStateError, match=r"The solution of step 7 holds no .*another agent wrote it"):
        SEARCHERS["evolution"].propose(brief, situation(Improve((7,)), "print('mine')"))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=2 * FRESH_TRIES))
def test_the_first_draw_that_is_new_is_taken_and_else_the_last(draws: list[int]) -> None:
    given_out = iter(draws * FRESH_TRIES)
    found = untried(lambda: next(given_out), lambda number: number > 0)
    among = (draws * FRESH_TRIES)[:FRESH_TRIES]
    assert found == (0 if 0 in among else among[-1])


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.sampled_from(["hidden", "claimed"]))
def test_a_script_comes_back_from_its_solution_whatever_it_says(script: str, fitness: str) -> None:
    brief = replace(BRIEF, artifact=ArtifactSpec(name="train.py", kind="script"), fitness=fitness)
    code = write_script(brief, script, "A plan.").code
    ast.parse(code)
    assert submitted_script(code) == script


@given(st.lists(st.sampled_from(["M", "mA", "Mb"]), min_size=1, max_size=20).map(tuple))
def test_an_architecture_comes_back_from_its_solution(architecture: tuple[str, ...]) -> None:
    assert written_architecture(write_architecture(BRIEF, architecture, "A plan.").code) == architecture


def test_a_solution_of_an_architecture_leaves_the_file_that_judges_read(tmp_path: Path) -> None:
    (tmp_path / "solution.py").write_text(write_architecture(BRIEF, ("mA", "M"), "A plan.").code)
    done = subprocess.run(
        [sys.executable, "solution.py"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert (tmp_path / "submission.csv").read_text() == 'architecture\n"mA,M"\n'
    assert done.stdout == "submitted mA,M\n"


@pytest.mark.parametrize("read", [written_architecture, submitted_script, read_genome])
@pytest.mark.parametrize(
    "value", ["", "1", "f()", "None", "'a' 'b", "[" * 90, "{[]: 1}", "'\\ud800'", "10 ** 10 ** 10", "[M]", "__import__('os')"]
)  # fmt: skip
def test_any_other_program_submits_nothing(read: Callable[[str], object], value: str) -> None:
    for name in ("ARCHITECTURE", "SCRIPT", "GENOME", "OTHER"):
        assert read(f"import os\n{name} = {value}\n") in (None, "\ud800")


def test_the_first_assignment_counts_and_only_at_the_top() -> None:
    form = SolutionForm("thing", "THING", "THING = {literal}\n", "check('{artifact}')\n")
    assert form.read("if True:\n    THING = 1\n") is None
    assert form.read("THING = 1\nTHING = 2\n") == 1
    assert form.read("THING = OTHER = 1\n") is None
    claiming = form.write(replace(BRIEF, fitness="claimed"), "3", "A plan.")
    assert claiming.code == '"""Submits one thing. A plan."""\n\nTHING = 3\ncheck(\'submission.csv\')\n'
    assert form.write(BRIEF, "3", "A plan.").code.endswith("THING = 3\n")
    assert form.read(claiming.code) == 3


def test_every_built_in_agent_says_what_it_is_in_a_line() -> None:
    rows = {row.name: row for row in agent_rows() if row.kind == "searcher"}
    assert set(rows) == set(SEARCHERS)
    for name, row in rows.items():
        assert row.description, name
        assert "\n" not in row.description
        assert json.dumps(row.description)
    assert len({row.description for row in rows.values()}) == len(rows)


def test_an_agent_that_lacks_a_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bayes.importlib.util, "find_spec", lambda name: None)
    for name in ("bayes", "bayes:incremental"):
        assert SEARCHERS[name].missing() == ("pip install 'aira-bench[bayes]'",)
        with pytest.raises(PrerequisiteError) as caught:
            find_agent(name)
        assert name in caught.value.message
        assert caught.value.hint == "pip install 'aira-bench[bayes]'"
    assert find_agent("evolution").name == "evolution"

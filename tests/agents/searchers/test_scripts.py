"""Agents that turn the hyperparameters of a training script: what they change, what they leave alone, what they submit."""

import ast
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.agents.agent import Agent, Brief, Proposal, Situation
from aira_bench.agents.catalog import SEARCHERS, find_agent
from aira_bench.agents.searchers.script_hyperparameters import (
    HYPERPARAMETERS,
    mutate_hyperparameters,
    read_hyperparameters,
    set_hyperparameters,
)
from aira_bench.agents.searchers.scripts import submitted_script
from aira_bench.errors import UsageError
from aira_bench.record.folder import StepFiles
from aira_bench.record.node import Node
from aira_bench.scaffolds.policy import Crossover, Debug, Draft, Improve, Proposing
from aira_bench.tasks.artifact_spec import ArtifactSpec

BASELINE = (
    Path(__file__).resolve().parents[3] / "tasks" / "AutoregressiveLanguageModellingAutoresearchBPB" / "train.py"
).read_text()
SCRIPT = (
    '''"""A script with an awkward text: '''
    + "'''"
    + r''' \n {braces}."""
import torch  # é

DEPTH = 8; HEAD_DIM = 64  # two on a line
WINDOW_PATTERN = "SSSL"
TOTAL_BATCH_SIZE = 2**12
DEVICE_BATCH_SIZE = 16
MATRIX_LR = 0.04
WEIGHT_DECAY = 0.0
NS_STEPS = DEPTH - 3
SOFTCAP = 1.0
SOFTCAP = 2.0
if torch:
    EMBEDDING_LR = 0.5
'''
)


@pytest.fixture
def brief(tmp_path: Path) -> Brief:
    (tmp_path / "train.py").write_text(SCRIPT, encoding="utf-8")
    spec = ArtifactSpec(name="train.py", kind="script")
    return Brief("autoresearch", "", spec, "BPB", True, "cpu", "hidden", 60.0, 1024, public=tmp_path)


def situation(action: Proposing, journal: list[Node], solutions: dict[int, str], seed: int = 0) -> Situation:
    def read_step(step: int) -> StepFiles:
        return StepFiles(solutions[step], "", "")

    return Situation(action, journal, read_step, random.Random(seed), 10, 1000.0)


def node(step: int) -> Node:
    return Node(step, "draft", (), "valid", "", 1.0, None, "0", "0")


def left_behind(proposal: Proposal, folder: Path) -> str:
    """What the solution leaves when it runs."""
    exec(
        compile(proposal.code.replace('Path("train.py")', f"Path({str(folder / 'out.py')!r})"), "solution.py", "exec"),
        {},
    )
    return (folder / "out.py").read_text(encoding="utf-8")


def test_hyperparameters_are_literals_assigned_once_at_the_top() -> None:
    assert read_hyperparameters(SCRIPT) == {
        "DEPTH": 8, "HEAD_DIM": 64, "WINDOW_PATTERN": "SSSL", "TOTAL_BATCH_SIZE": 4096, "DEVICE_BATCH_SIZE": 16,
        "MATRIX_LR": 0.04, "WEIGHT_DECAY": 0.0,
    }  # fmt: skip
    assert read_hyperparameters("this is not python(") == {}
    assert set(read_hyperparameters(BASELINE)) == set(HYPERPARAMETERS), "the baseline has every hyperparameter"


def test_setting_hyperparameters_changes_their_literals_and_nothing_else() -> None:
    changed = set_hyperparameters(SCRIPT, {"HEAD_DIM": 128, "DEPTH": 10, "TOTAL_BATCH_SIZE": 2048})
    expected = SCRIPT.replace("DEPTH = 8; HEAD_DIM = 64", "DEPTH = 10; HEAD_DIM = 128").replace("2**12", "2048")
    assert changed == expected
    with pytest.raises(KeyError):
        set_hyperparameters(SCRIPT, {"SOFTCAP": 3.0})


@settings(deadline=None, max_examples=15)
@given(st.integers(), st.integers(1, 10))
def test_any_chain_of_mutations_keeps_a_script_whole_and_its_batches_dividing(seed: int, generations: int) -> None:
    rng, script = random.Random(seed), BASELINE
    for _ in range(generations):
        before = read_hyperparameters(script)
        changes = mutate_hyperparameters(rng, before, 3)
        script = set_hyperparameters(script, changes)
        after = read_hyperparameters(script)
        assert after == {**before, **changes}
        assert all(before[name] != value for name, value in changes.items())
        assert all(type(value) in {type(before[name]), float} for name, value in changes.items())
        rows = int(after["DEVICE_BATCH_SIZE"])
        assert rows >= 1
        assert int(after["TOTAL_BATCH_SIZE"]) % (rows * 2048) == 0
        assert set(str(after["WINDOW_PATTERN"])) <= {"S", "L"}
        assert after["WINDOW_PATTERN"]
    ast.parse(script)


def test_every_dial_moves() -> None:
    values, rng = read_hyperparameters(BASELINE), random.Random(0)
    moved = {name for _ in range(200) for name in mutate_hyperparameters(rng, values, 3)}
    assert moved == set(HYPERPARAMETERS)


def test_a_solution_leaves_exactly_its_script(brief: Brief, tmp_path: Path) -> None:
    proposal = SEARCHERS["baseline"].propose(brief, situation(Draft(), [], {}))
    assert left_behind(proposal, tmp_path) == SCRIPT
    assert submitted_script(proposal.code) == SCRIPT
    assert "validate" not in proposal.code
    claiming = SEARCHERS["baseline"].propose(replace(brief, fitness="claimed"), situation(Draft(), [], {}))
    assert 'main(["--script", "train.py", "--data", "data"])' in claiming.code
    assert submitted_script("print('something else')") is None


def test_evolution_begins_with_the_baseline_and_then_stays_near_its_parents(brief: Brief) -> None:
    evolution = SEARCHERS["evolution"]
    first = evolution.propose(brief, situation(Draft(), [], {}))
    assert submitted_script(first.code) == SCRIPT
    journal, solutions = [node(1)], {1: first.code}
    child = evolution.propose(brief, situation(Improve((1,)), journal, solutions, seed=3))
    before, after = read_hyperparameters(SCRIPT), read_hyperparameters(submitted_script(child.code))
    moved = {name for name in before if before[name] != after[name]}
    assert 1 <= len(moved) <= 4
    assert {change.name.split()[0] for change in child.changes} == moved
    assert all(f"{name} {before[name]} -> {after[name]}" in child.plan for name in moved)
    for action in (Draft(), Debug((1,))):
        drafted = evolution.propose(brief, situation(action, journal, solutions, seed=4))
        assert submitted_script(drafted.code) != SCRIPT


def test_a_cross_takes_every_dial_from_one_of_its_parents(brief: Brief) -> None:
    other = set_hyperparameters(
        SCRIPT, {"DEPTH": 2, "WINDOW_PATTERN": "L", "TOTAL_BATCH_SIZE": 512, "DEVICE_BATCH_SIZE": 2}
    )
    (brief.public / "train.py").write_text(other, encoding="utf-8")
    second = SEARCHERS["baseline"].propose(brief, situation(Draft(), [], {})).code
    (brief.public / "train.py").write_text(SCRIPT, encoding="utf-8")
    first = SEARCHERS["baseline"].propose(brief, situation(Draft(), [], {})).code
    seen = set()
    for seed in range(30):
        crossed = SEARCHERS["evolution"].propose(
            brief, situation(Crossover((1, 2)), [node(1), node(2)], {1: first, 2: second}, seed)
        )
        hyperparameters = read_hyperparameters(submitted_script(crossed.code))
        assert all(
            value in (read_hyperparameters(SCRIPT)[name], read_hyperparameters(other)[name])
            for name, value in hyperparameters.items()
        )
        assert (hyperparameters["TOTAL_BATCH_SIZE"], hyperparameters["DEVICE_BATCH_SIZE"]) in {(4096, 16), (512, 2)}
        seen.add((hyperparameters["DEPTH"], hyperparameters["WINDOW_PATTERN"]))
    assert len(seen) == 4


@pytest.mark.parametrize("agent", [SEARCHERS["baseline"], SEARCHERS["random"], SEARCHERS["evolution"]])
def test_the_same_seed_proposes_the_same_and_another_task_is_refused(brief: Brief, agent: Agent) -> None:
    once, again = (agent.propose(brief, situation(Draft(), [node(1)], {}, seed=7)) for _ in range(2))
    assert once == again
    nothing = replace(brief, public=brief.public / "empty")
    with pytest.raises(UsageError, match="starts from a script in the public data, and task autoresearch has none"):
        agent.propose(nothing, situation(Draft(), [], {}))


def test_a_name_stands_for_the_searcher_of_the_tasks_artifact(brief: Brief) -> None:
    named = find_agent("evolution")
    assert named.default_scaffold == "regularized-evolution"
    assert named.propose(brief, situation(Draft(), [], {})).plan == "The baseline script, unchanged."
    layers = replace(brief, artifact=ArtifactSpec(kind="architecture", primitives=("M", "mA")))
    assert "ARCHITECTURE" in named.propose(layers, situation(Draft(), [], {})).code
    csv = replace(brief, artifact=ArtifactSpec(name="submission.csv", kind="csv"))
    with pytest.raises(UsageError, match=r"knows submissions of the kinds .*script; the task wants .*csv"):
        named.propose(csv, situation(Draft(), [], {}))

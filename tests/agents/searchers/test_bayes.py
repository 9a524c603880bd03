"""Bayesian optimization as an agent, with BoTorch at work, in this process and in its own."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aira_bench.agents.agent import Brief, Situation
from aira_bench.agents.searchers.architectures import canonical, random_architecture, written_architecture
from aira_bench.agents.searchers.bayes import BayesAgent, IncrementalBayesAgent, ask_process
from aira_bench.agents.searchers.bayes_problem import ProposalRequest
from aira_bench.agents.searchers.bayes_process import propose
from aira_bench.errors import ModelError, UsageError
from aira_bench.record.folder import StepFiles
from aira_bench.record.node import Node, StepClass
from aira_bench.runs.session import stream
from aira_bench.scaffolds.policy import Draft
from aira_bench.tasks.artifact_spec import ArtifactSpec
from aira_bench.tasks.task import find_task
from aira_contract.architectures import parse_submission

Architecture = tuple[str, ...]
Score = Callable[[Architecture], float | None]


def brief(layers: int, primitives: tuple[str, ...] = ("M", "mA"), *, lower: bool = False) -> Brief:
    spec = ArtifactSpec.model_validate({"kind": "architecture", "layers": layers, "primitives": primitives})
    return Brief("a task", "", spec, "Loss" if lower else "Accuracy", lower, "cpu", "hidden", 60.0, 1024)


def search(agent: BayesAgent, task: Brief, score: Score, steps: int, seed: int = 1) -> list[Architecture]:
    """What a run of the loop would evaluate; a score of None is a step that failed."""
    journal: list[Node] = []
    codes: list[str] = []
    for step in range(1, steps + 1):
        left = steps - step + 1
        situation = Situation(
            Draft(), journal, lambda step: StepFiles(codes[step - 1], "", ""), stream(seed, step, "agent"), left, 1e3
        )
        proposal = agent.propose(task, situation)
        assert not proposal.failure, proposal.failure
        codes.append(proposal.code)
        architecture = written_architecture(proposal.code)
        assert architecture is not None
        fitness = score(architecture)
        kind: StepClass = "buggy" if fitness is None else "valid"
        name = None if fitness is None else canonical(architecture)
        journal.append(Node(step, "draft", (), kind, "", fitness, None, "", None, canonical=name))
    return [architecture for code in codes if (architecture := written_architecture(code))]


def mismatches(architecture: Architecture) -> float:
    """A loss with one best stack: two attention, two MLP, and again. A stack drawn at random has half its layers wrong."""
    return float(sum((symbol == "mA") != (layer % 4 < 2) for layer, symbol in enumerate(architecture)))


@pytest.mark.parametrize(
    ("agent", "lower"),
    [(BayesAgent(ask=propose), True), (BayesAgent(ask=propose), False), (IncrementalBayesAgent(ask=propose), True)],
)
def test_proposals_move_to_what_scores_well(agent: BayesAgent, lower: bool) -> None:
    found = search(agent, brief(12, lower=lower), lambda one: mismatches(one) if lower else -mismatches(one), 20)
    late = [mismatches(one) for one in found[10:]]
    assert len(set(found)) == len(found)
    assert sum(late) / len(late) < 4.5
    assert min(late) <= 2


@pytest.mark.parametrize("alias", ["mad-2p", "mad-3p", "babistories-2p", "dclm-2p"])
def test_every_compose_task_gets_a_submission_that_its_judge_reads(alias: str, tmp_path: Path) -> None:
    task = find_task(alias)
    spec = task.metadata.aira.artifact
    rng = random.Random(1)
    journal = [
        Node(step, "draft", (), "valid", "", float(step), None, "", None,
             canonical=canonical(random_architecture(rng, spec.primitives, spec.layers)))
        for step in range(1, 9)
    ]  # fmt: skip
    about = Brief(alias, "", spec, task.metric, task.lower_is_better, "cpu", "hidden", 60.0, 1024)
    situation = Situation(Draft(), journal, lambda step: StepFiles("", "", ""), rng, 12, 1e3)
    proposal = BayesAgent(ask=propose).propose(about, situation)
    assert "qLogNEI after 8 scores" in proposal.plan
    subprocess.run([sys.executable, "-c", proposal.code], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    submitted = parse_submission((tmp_path / spec.name).read_bytes(), spec.primitives, spec.layers)
    assert submitted == written_architecture(proposal.code)
    assert canonical(submitted) not in {node.canonical for node in journal}


def test_every_architecture_of_a_small_space_is_tried_once_and_then_no_more() -> None:
    agent, task = BayesAgent(ask=propose), brief(3)
    found = search(agent, task, lambda one: None if one[0] == "mA" else mismatches(one), 8)
    assert len(set(found)) == 8
    journal = [
        Node(step, "draft", (), "valid", "", 0.5, None, "", None, canonical=canonical(one))
        for step, one in enumerate(found, start=1)
    ]
    spent = Situation(Draft(), journal, lambda step: StepFiles("", "", ""), random.Random(0), 1, 1e3)
    assert agent.propose(task, spent).failure == "all 8 architectures of the space have been tried"


def test_a_resumed_search_proposes_the_same_and_another_seed_does_not() -> None:
    task = brief(16, ("M", "mA", "Mb"))
    first, again, other = (search(BayesAgent(ask=propose), task, mismatches, 7, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("values", [(0.5,), (0.5, 0.5, 0.5), (0.1, 0.2, 0.1)])
def test_few_equal_or_repeated_observations_are_enough(values: tuple[float, ...]) -> None:
    observed = ("0000000000000000", "0000000000000000", "1111000011110000")[: len(values)]
    chosen = propose(ProposalRequest(3, observed, values, None, 5))
    assert len(chosen) == 16
    assert chosen not in observed


def test_a_run_in_which_everything_fails_goes_on_at_random() -> None:
    found = search(BayesAgent(ask=propose), brief(16), lambda one: None, 9)
    assert len(set(found)) == 9


def test_the_process_answers_what_the_function_answers_and_the_host_stays_without_torch() -> None:
    rng = random.Random(3)
    observed = tuple("".join(rng.choice("012") for _ in range(16)) for _ in range(8))
    request = ProposalRequest(3, observed, tuple(rng.random() for _ in observed), None, 11)
    code = (
        "import sys; from aira_bench.agents.searchers.bayes import ask_process, ProposalRequest;"
        "import aira_bench.agents.catalog;"
        "chosen = ask_process(ProposalRequest.from_json(sys.argv[1]));"
        "print(chosen, {'torch', 'botorch', 'numpy'} & set(sys.modules))"
    )
    host = subprocess.run(
        [sys.executable, "-c", code, request.to_json()], capture_output=True, text=True, timeout=120, check=True
    )
    assert host.stdout.split() == [propose(request), "set()"]


def test_a_process_that_takes_too_long_is_ended_with_one_line() -> None:
    with pytest.raises(ModelError, match=r"within 0\.05 s"):
        ask_process(ProposalRequest(2, ("01", "10"), (0.1, 0.2), None, 1), deadline_s=0.05)


def test_a_broken_library_is_one_line_and_the_process_sees_no_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "botorch").mkdir()
    (tmp_path / "botorch" / "__init__.py").write_text(
        "import os\nraise ImportError('broken, key ' + os.environ.get('GEMINI_API_KEY', 'unseen'))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("GEMINI_API_KEY", "a-secret")
    with pytest.raises(ModelError) as caught:
        ask_process(ProposalRequest(2, ("01", "10"), (0.1, 0.2), None, 1))
    assert "ImportError: broken, key unseen" in caught.value.message
    assert "import botorch" in (caught.value.hint or "")
    assert "\n" not in str(caught.value)


def test_an_answer_that_is_no_candidate_is_refused() -> None:
    agent = BayesAgent(ask=lambda request: request.observed[0])
    with pytest.raises(ModelError, match="expected an untried candidate"):
        search(agent, brief(16), mismatches, 20)


def test_a_task_of_another_kind_is_refused() -> None:
    spec = ArtifactSpec(name="train.py", kind="script")
    task = Brief("autoresearch", "", spec, "BPB", True, "cpu", "hidden", 60.0, 1024)
    with pytest.raises(UsageError, match="searches architectures"):
        BayesAgent().propose(task, Situation(Draft(), [], lambda step: StepFiles("", "", ""), random.Random(0), 5, 1e3))


def without_botorch(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; sys.modules['botorch'] = None; from aira_bench.__main__ import main;"
        "sys.argv = ['aira-bench', *sys.argv[1:]]; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd, check=False)


def test_without_botorch_the_list_of_agents_says_what_to_install(tmp_path: Path) -> None:
    rows = {row["agent"]: row["missing"] for row in json.loads(without_botorch(tmp_path, "agents", "--json").stdout)}
    assert rows["bayes"] == rows["bayes:incremental"] == ["pip install 'aira-bench[bayes]'"]
    assert rows["evolution"] == []


@pytest.mark.parametrize("agent", ["bayes", "bayes:incremental"])
def test_without_botorch_a_run_ends_before_it_begins(agent: str, tmp_path: Path) -> None:
    done = without_botorch(tmp_path, "run", "--agent", agent, "--task", "mad-2p")
    assert done.returncode == 3
    assert "pip install 'aira-bench[bayes]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())

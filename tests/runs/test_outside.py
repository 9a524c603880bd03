"""What an agent, scaffold or evaluator of others does wrong ends a run with one error, and leaves a record that is read."""

from pathlib import Path

import pytest

from aira_bench import read_run, run
from aira_bench.errors import PrerequisiteError
from played_host import played_host, played_sandbox, request

POLICY = """
from aira_bench.protocols import Crossover, Draft, Improve
class Policy:
    def next(self, journal, rng):
        return {} if journal else Draft()
"""
AGENT = """
from aira_bench.protocols import Analysis, Proposal, UnlookingAgent
CODE = "ARCHITECTURE = " + ",".join(["M"] * 16) + chr(10)
class Agent(UnlookingAgent):
    name, default_scaffold = "mine", "greedy"
    def propose(self, brief, situation):
        return {}
"""
DEEP = """
def deep():
    try:
        raise MemoryError  # as ast.parse does
    except MemoryError:
        raise ValueError("too deep for me") from None
"""
EVALUATOR = """
class Evaluator:
    def evaluate(self, submission, *, deadline, destination):
        return {}
    def close(self):
        pass
"""
FAULTS = {
    "no action": ("scaffold", POLICY.format("None"), "no action"),
    "no parents": ("scaffold", POLICY.format("Improve(())"), "no tuple of 1 step "),
    "one of two parents": ("scaffold", POLICY.format("Crossover((1,))"), "no tuple of 2 steps "),
    "a list of parents": ("scaffold", POLICY.format("Improve([1])"), "no tuple of 1 step "),
    "a step to come": ("scaffold", POLICY.format("Improve((2,))"), "not among the steps"),
    "a policy's slip": ("scaffold", POLICY.format("1 / 0"), "ZeroDivisionError: division by zero .*py, line 5"),
    "a policy's exit": ("scaffold", POLICY.format("exit(0)"), "SystemExit: 0"),
    "no proposal": ("agent", AGENT.format("None"), "no Proposal"),
    "bytes": ("agent", AGENT.format("Proposal(b'', '')"), "not all text"),
    "half a pair": ("agent", AGENT.format("Proposal(chr(0xd800), '')"), "half a surrogate pair"),
    "too much code": ("agent", AGENT.format("Proposal(CODE + '#' * 2**24, '')"), "more than"),
    "too long a plan": ("agent", AGENT.format("Proposal(CODE, 'p' * 2**24)"), "more than"),
    "changes in words": ("agent", AGENT.format("Proposal(CODE, '', changes=('more',))"), "no tuple of Change"),
    "no use": ("agent", AGENT.format("Proposal(CODE, '', model_use=None)"), "no ModelUse"),
    "a reader's limit": ("agent", AGENT.format("deep()") + DEEP, r"ValueError: too deep for me .*py, line 1\d"),
    "an agent's exit": ("agent", AGENT.format("exit(0)"), "SystemExit: 0"),
    "no analysis": (
        "agent", AGENT.format("Proposal(CODE, '')") + "    def analyze(self, *given):\n        return 1", "no Analysis",
    ),
    "no verdict": ("evaluator", EVALUATOR.format("None"), "no verdict"),
    "an evaluator's slip": ("evaluator", EVALUATOR.format("[][0]"), "IndexError"),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(FAULTS))
def test_faults_of_others(fault: str, tmp_path: Path) -> None:
    kind, code, said = FAULTS[fault]
    file = tmp_path / "mine.py"
    file.write_text(code.replace("{}", "None"))
    wish = {kind: f"{file}:{kind.capitalize().replace('Scaffold', 'Policy')}"}
    with pytest.raises(PrerequisiteError, match=said) as caught:
        run(request(**wish), played_host(tmp_path, played_sandbox()))
    assert f"{kind} {file}:" in caught.value.message
    assert caught.value.hint
    (seed,) = read_run("run", runs=tmp_path / "runs").seeds
    assert len(seed.nodes) == (kind == "scaffold")


def test_faults_of_ours_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aira_bench.scaffolds.regularized_evolution.RegularizedEvolution.next", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(request(), played_host(tmp_path, played_sandbox()))

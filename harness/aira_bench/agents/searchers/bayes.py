"""Composer's searcher as an agent: Bayesian optimization, one-shot or end-layer incremental.

Each proposal is made by a fresh process that imports torch and BoTorch (`bayes_process`), so that the host itself never
does. The process gets no keys: of the host's environment only what finds programs and packages is handed on. It thinks
while other seeds use the machine's slots, as a model's provider does.

Not covered: several proposals of one seed at a time; each sees the results of all steps before it.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aira_bench.agent_code.reading import bare_environment
from aira_bench.agents.agent import Brief, Proposal, Situation, UnlookingAgent
from aira_bench.agents.searchers.architectures import no_architecture, search_space, write_solution
from aira_bench.agents.searchers.bayes_problem import (
    Codes,
    Evaluation,
    ProposalRequest,
    Search,
    Space,
    evaluations,
    incremental,
    objective,
    one_shot,
    space_filling,
)
from aira_bench.errors import ModelError, UsageError
from aira_bench.escaping import printable
from aira_bench.excerpts import LINE_CHARS, VALUE_CHARS
from aira_bench.tasks.artifact_spec import ArtifactSpec

EXTRA = "aira-bench[bayes]"
DEADLINE_S = 300.0
_PROCESS = "aira_bench.agents.searchers.bayes_process"


def ask_process(request: ProposalRequest, deadline_s: float = DEADLINE_S) -> Codes:
    """Have a process of its own answer; -P keeps the working directory from shadowing a library.

    Raises:
        ModelError: it failed or took longer than `deadline_s`.
    """
    environment = bare_environment() | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", _PROCESS], input=request.to_json() + "\n", env=environment,
            capture_output=True, encoding="utf-8", errors="backslashreplace", timeout=deadline_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ModelError(
            f"No proposal of Bayesian optimization within {deadline_s:g} s, with {len(request.observed)} observations."
        ) from None
    if done.returncode != 0:
        last = printable((done.stderr.strip().splitlines() or ["it printed nothing"])[-1])
        raise ModelError(
            f"The process that proposes ended with exit status {done.returncode}: {last[:LINE_CHARS]}.",
            hint=f"{sys.executable} -P -c 'import botorch'",
        )
    return str(json.loads(done.stdout)["chosen"])


@dataclass(frozen=True)
class BayesAgent(UnlookingAgent):
    """Bayesian optimization over all layers at once (needs aira-bench[bayes])."""

    name: str = "bayes"
    default_scaffold: str = "greedy"
    ask: Callable[[ProposalRequest], Codes] = ask_process
    """Answers a request; benchmarks that import BoTorch themselves skip the process."""

    def missing(self) -> tuple[str, ...]:
        """BoTorch, if it is not installed; nothing is imported to find out."""
        return () if importlib.util.find_spec("botorch") else (f"pip install '{EXTRA}'",)

    def fault_of(self, artifact: ArtifactSpec) -> str:
        """Say so where the artifact is no architecture, or one with a budget, which its surrogate knows nothing of."""
        if artifact.most_parameters is not None:
            return f"Agent {self.name} knows no budget of parameters; the task has one of {artifact.most_parameters:,}."
        return no_architecture(artifact, self.name)

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """Return an untried architecture, whatever the action.

        Raises:
            UsageError: the task searches no architectures.
            ModelError: the proposing process failed or took too long.
        """
        if fault := self.fault_of(brief.artifact):
            raise UsageError(fault, hint="--agent evolution")
        primitives, layers = search_space(brief, self.name)
        space, history = Space(len(primitives), layers), evaluations(brief, situation)
        search = self.search(space, situation.step - 1 + situation.steps_left, history)
        tried, known = {one.codes for one in history}, sum(one.value is not None for one in history)
        if search.candidates is not None and tried.issuperset(search.candidates):
            return Proposal("", "", failure=f"all {len(search.candidates)} architectures of the space have been tried")
        if known < search.design:
            chosen = space_filling(situation.rng, space, search.candidates, tried)
            plan = f"Space-filling start {known + 1} of {search.design}, {search.what}."
        else:
            request = ProposalRequest(
                space.symbols, tuple(one.codes for one in history), objective(history), search.candidates,
                situation.rng.getrandbits(31),
            )  # fmt: skip
            chosen = self._checked(self.ask(request), space, search, tried)
            plan = f"Best qLogNEI after {known} scores, {search.what}."
        return write_solution(brief, tuple(primitives[int(code)] for code in chosen), plan)

    def search(self, space: Space, steps: int, history: Sequence[Evaluation]) -> Search:
        """Return where to look in a run of `steps` after `history`."""
        return one_shot(space, steps)

    @staticmethod
    def _checked(chosen: Codes, space: Space, search: Search, tried: set[Codes]) -> Codes:
        allowed = chosen in search.candidates if search.candidates is not None else space.holds(chosen)
        if not allowed or chosen in tried:
            raise ModelError(
                f"The process that proposes answered {chosen[:VALUE_CHARS]!r}, expected an untried candidate."
            )
        return chosen


@dataclass(frozen=True)
class IncrementalBayesAgent(BayesAgent):
    """Bayesian optimization, block by block behind the best prefix (needs aira-bench[bayes])."""

    name: str = "bayes:incremental"

    def search(self, space: Space, steps: int, history: Sequence[Evaluation]) -> Search:
        """Return the block to search now."""
        return incremental(space, steps, history)

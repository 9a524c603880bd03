"""Public: what tests of agents, policies, models and sandboxes need, ours and those of others.

Conformance checks say what holds for every implementation of a protocol (`checks`):

    from aira_bench.testing import POLICY_CHECKS, require_all
    require_all(POLICY_CHECKS, MyPolicy())

`InMemorySandbox` stands in for containers, `ScriptedModel` for a language model, and `PlayedWorld` for the clock.

Not covered: evaluators, whose verdicts only their own task knows.
"""

from aira_bench.llm.recording import ScriptedModel
from aira_bench.testing.agent_checks import AGENT_CHECKS, AgentOnTask, brief_of, situation
from aira_bench.testing.checks import Check, Nonconforming, require, require_all
from aira_bench.testing.memory_sandbox import (
    Call,
    Done,
    InMemoryContainer,
    InMemoryConversation,
    InMemorySandbox,
    Program,
    Responder,
    captured,
    run_unprotected,
)
from aira_bench.testing.model_checks import MODEL_CHECKS
from aira_bench.testing.policy_checks import BUG, LOST, POLICY_CHECKS, Result, node_after, play_policy
from aira_bench.testing.sandbox_checks import ISOLATION_CHECKS, SANDBOX_CHECKS, SandboxOnImage
from aira_bench.testing.world import PlayedWorld

__all__ = [
    "AGENT_CHECKS", "BUG", "ISOLATION_CHECKS", "LOST", "MODEL_CHECKS", "POLICY_CHECKS", "SANDBOX_CHECKS",
    "AgentOnTask", "Call", "Check", "Done", "InMemoryContainer", "InMemoryConversation", "InMemorySandbox",
    "Nonconforming", "PlayedWorld", "Program", "Responder", "Result", "SandboxOnImage", "ScriptedModel", "brief_of",
    "captured", "node_after", "play_policy", "require", "require_all", "run_unprotected", "situation",
]  # fmt: skip

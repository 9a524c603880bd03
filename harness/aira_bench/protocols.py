"""Public: every protocol that code of others can fulfil, and the values that their methods take and give.

`pydoc aira_bench.protocols` shows all of them with their docstrings, on one page.

    Agent                writes solutions: from a `Brief` and a `Situation` to a `Proposal`   --agent module:Class
    Policy               decides what comes next: from the steps so far to a `Draft`, `Improve`, `Debug`, `Crossover`
                         or `Stop`                                                            --scaffold module:Class
    Model                answers a `CompletionRequest` with a `Completion`; what agents ask
    ProviderSession      one attempt to have a card's model answer                            --provider module:Class
    SubmissionEvaluator  scores a submission: from its bytes to `Scored` or `Refused`         --evaluator module:Class
    Sandbox              makes containers, each for one step: from a `ContainerSpec` to a `PreparedContainer`

A class need not inherit from its protocol: it has to have its methods. `aira_bench.testing` tries whether they do what
the docstrings say.

Not covered: tasks, which are folders (docs/extending.md).
"""

from aira_bench.agents.agent import (
    Agent,
    Analysis,
    Brief,
    Environment,
    Proposal,
    Provenance,
    Situation,
    StepReport,
    UnlookingAgent,
)
from aira_bench.agents.catalog import AgentOptions
from aira_bench.deadline import Deadline
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting, SubmissionEvaluator
from aira_bench.evaluation.verdict import Refused, Scored
from aira_bench.gpus.use import GpuUse
from aira_bench.llm.failures import ProviderFailure
from aira_bench.llm.model import Completion, CompletionRequest, Message, Model, Usage
from aira_bench.llm.providers.provider_session import Endpoint, ProviderAnswer, ProviderSession
from aira_bench.output import CapturedOutput
from aira_bench.record.folder import StepFiles
from aira_bench.record.node import Change, Journal, ModelUse, Node, best_node
from aira_bench.sandbox.core_time import CoreHistory, CoreTime
from aira_bench.sandbox.sandbox import (
    Artifact,
    ArtifactRequest,
    ContainerSpec,
    Conversation,
    Isolation,
    Limits,
    Mount,
    PreparedContainer,
    RejectedArtifact,
    Sandbox,
    StepOutcome,
)
from aira_bench.scaffolds.policy import Action, Crossover, Debug, Draft, Improve, Policy, Stop

__all__ = [
    "Action",
    "Agent",
    "AgentOptions",
    "Analysis",
    "Artifact",
    "ArtifactRequest",
    "Brief",
    "CapturedOutput",
    "Change",
    "Completion",
    "CompletionRequest",
    "ContainerSpec",
    "Conversation",
    "CoreHistory",
    "CoreTime",
    "Crossover",
    "Deadline",
    "Debug",
    "Draft",
    "Endpoint",
    "Environment",
    "EvaluationSetting",
    "GpuUse",
    "Improve",
    "Isolation",
    "Journal",
    "Limits",
    "Message",
    "Model",
    "ModelUse",
    "Mount",
    "Node",
    "Policy",
    "PreparedContainer",
    "Proposal",
    "Provenance",
    "ProviderAnswer",
    "ProviderFailure",
    "ProviderSession",
    "Refused",
    "RejectedArtifact",
    "Sandbox",
    "Scored",
    "Situation",
    "StepFiles",
    "StepOutcome",
    "StepReport",
    "Stop",
    "Submission",
    "SubmissionEvaluator",
    "UnlookingAgent",
    "Usage",
    "best_node",
]

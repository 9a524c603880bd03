"""One name for several searchers: which of them works is decided by what the task wants submitted.

Not covered: how any of them searches.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote

from aira_bench.agents.protocol import Agent, Brief, Proposal, Situation, UnlookingAgent
from aira_bench.errors import UsageError


@dataclass(frozen=True)
class ByArtifact(UnlookingAgent):
    """A searcher without a model for each kind of artifact."""

    name: str
    description: str
    searchers: Mapping[str, Agent]
    """By `kind` of the task's artifact; all have this name and the same default scaffold."""

    @property
    def default_scaffold(self) -> str:
        """That of the searchers behind the name."""
        return next(iter(self.searchers.values())).default_scaffold

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """What the searcher for the task's artifact proposes.

        Raises:
            UsageError: there is none.
        """
        searcher = self.searchers.get(brief.artifact.kind)
        if searcher is None:
            raise UsageError(
                f"Agent {self.name} knows submissions of the kinds {', '.join(self.searchers)}, but task {brief.task} "
                f"wants {brief.artifact.name} ({brief.artifact.kind}).",
                hint=f"aira-bench run --agent script:FILE.py --task {quote(brief.task)}",
            )
        return searcher.propose(brief, situation)

"""Agents that always submit the same code: one that does nothing, and one that submits a file of the user's."""

from dataclasses import dataclass
from pathlib import Path

from aira_bench.agents.agent import Brief, Proposal, Situation, UnlookingAgent
from aira_bench.errors import UsageError
from aira_bench.files import Unacceptable, read_text, reason

MOST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class NoopAgent(UnlookingAgent):
    """Submits nothing: the floor of every board, and the measure of the harness's own time."""

    name: str = "noop"
    default_scaffold: str = "one-shot"

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """Return a solution of no code."""
        return Proposal("", "Do nothing.")


@dataclass(frozen=True)
class SolutionFileAgent(UnlookingAgent):
    """Submits a solution file unchanged, at every step."""

    name: str
    code: str
    default_scaffold: str = "one-shot"

    @classmethod
    def load(cls, path: Path) -> "SolutionFileAgent":
        """Read the solution from a file of the user's.

        Raises:
            UsageError: it is not there, no plain file, too large, or not UTF-8 text.
        """
        try:
            return cls(name=f"script:{path.name}", code=read_text(path, MOST_BYTES).removeprefix("\ufeff"))
        except (OSError, Unacceptable) as error:
            raise UsageError(f"The solution file {path} cannot be read: {reason(error)}.") from error

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """Return the file's code, whatever happened before."""
        return Proposal(self.code, f"The file {self.name.removeprefix('script:')}.")

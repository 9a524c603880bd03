"""Every error a user can meet, with its exit code.

A message says what failed, what was seen against what was expected, and the next command to type.
The command line prints it as one line without a traceback; any other exception is a defect of ours.

Not covered: outcomes of agent code. A crashing solution is a step class (`aira_bench.record.node.StepClass`), never an
exception.
"""

from typing import ClassVar


class AiraError(Exception):
    """Base of all user-facing errors. `hint` is the next command to type."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} Try: {self.hint}" if self.hint else self.message


class ScoresDiffer(AiraError):
    """A comparison failed: scores that somebody recorded were not had again."""

    exit_code = 1


class UsageError(AiraError):
    """The user gave an unknown name or an impossible value on the command line."""

    exit_code = 2


class PrerequisiteError(AiraError):
    """The machine lacks something: Docker, an image, disk, a key, data."""

    exit_code = 3


class TaskError(AiraError):
    """A task folder breaks its contract, or its trusted scripts fail."""

    exit_code = 4


class SandboxError(AiraError):
    """The container engine failed. Infrastructure: never a score and never the agent's fault."""

    exit_code = 5


class EngineAway(SandboxError):
    """No engine answers: it is being restarted, or gone. Waited for; in the end the seed halts, never a step."""

    away: ClassVar[str] = "the container engine is away"


class JudgesAway(EngineAway):
    """No judge node can be used. The same."""

    away = "no judge node can be used"


class EvaluationFailed(SandboxError):
    """A task's own evaluation failed, or its report cannot be believed.

    In a run that halts the seed at once, since no submission is at fault and the next would fare no better;
    `aira-bench check` tells the author.
    """

    def __init__(self, message: str, *, hint: str | None = None, crashed: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.crashed = crashed
        """Whether its process crashed, which a submission may have brought about: that is tried again."""


class AskedInVain(SandboxError):
    """The engine failed after a model was shown hidden text. Nothing may be trained again for the same step."""

    def __init__(self, message: str, *, hint: str | None = None, attempts: int) -> None:
        super().__init__(message, hint=hint)
        self.attempts = attempts
        """How often the model was asked."""


class RunStateError(AiraError):
    """A run folder cannot be read, is locked by a live process, or belongs to another version."""

    exit_code = 6


class ModelError(AiraError):
    """A model provider refused for good: key, model name, or its retries ran out."""

    exit_code = 7


class BudgetExceeded(AiraError):
    """A hard budget would be broken by the next call."""

    exit_code = 8


class NothingScored(AiraError):
    """A run went to its end, and no step of it has a score."""

    exit_code = 10


class MachineError(AiraError):
    """The machine below us failed: its disk is full or read-only, it has no descriptors, threads or memory left.

    In a run nobody's code is to blame, so the seed halts where it stands and can be resumed.
    """

    exit_code = 9


def error_of_status(status: int) -> type[AiraError]:
    """Return the kind of error that an exit status stands for; of several, the one they have in common."""
    return next((kind for kind in AiraError.__subclasses__() if kind.exit_code == status), AiraError)

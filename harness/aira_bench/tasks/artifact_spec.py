"""The file that a solution of a task has to leave behind: its name, its kind, and what is asked of it.

Not covered: reading a submitted one (`aira_bench.evaluation`).
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool

from aira_bench.errors import UsageError
from aira_bench.extensions import find_extension, is_reference
from aira_bench.tasks.schema import Schema
from aira_contract.containers import DATA, HIDDEN, LOGS, TASK
from aira_contract.files import ARCHITECTURE_FILE, NOT_FOR_SUBMISSIONS
from aira_contract.primitives import SYMBOLS
from aira_contract.settings import ProfileName
from aira_contract.training_arithmetic import toy_parameters

ARTIFACT_KINDS = ("csv", "architecture", "module", "script")
"""What the evaluators of this package score."""
NAMES_OF_OURS = frozenset(
    {"solution.py", "stdout.txt", "stderr.txt", "scores.jsonl", DATA, LOGS, TASK.name, HIDDEN.name, "metadata.yaml",
     "project_description.md", *NOT_FOR_SUBMISSIONS}
)  # fmt: skip
"""Files that we, or the task's scripts, keep beside a submission."""


def _not_ours(name: str) -> str:
    if name.lower() in NAMES_OF_OURS:
        raise ValueError(f"{name} is a file of the harness; name the artifact otherwise")
    return name


def _a_primitive(symbol: str) -> str:
    if symbol not in SYMBOLS:
        raise ValueError(f"expected one of {', '.join(SYMBOLS)}")
    return symbol


def _scored_by_something(kind: str) -> str:
    if is_reference(kind):
        raise ValueError("a task names no code of the host; name an installed evaluator, or give it with --evaluator")
    try:
        find_extension("evaluator", kind, ARTIFACT_KINDS)
    except UsageError as error:
        raise ValueError(error.message) from None
    return kind


class ArtifactSpec(Schema):
    """The file a solution has to leave behind."""

    name: Annotated[str, AfterValidator(_not_ours)] = Field(
        default=ARCHITECTURE_FILE, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"
    )
    kind: Annotated[str, AfterValidator(_scored_by_something)] = "csv"
    """One of `ARTIFACT_KINDS`, or the name of an installed evaluator that scores it."""
    max_kib: int = Field(default=65536, gt=0, le=1 << 20)
    layers: int = Field(default=16, gt=0, le=1024)
    """Of an `architecture`."""
    primitives: tuple[Annotated[str, AfterValidator(_a_primitive)], ...] = ()
    """What each layer of an `architecture` may be."""
    most_parameters: int | None = Field(default=None, gt=0)
    """Of an `architecture` at toy widths, without embedding (`training_arithmetic.toy_parameters`)."""
    module_layers: dict[ProfileName, Annotated[int, Field(gt=0, le=1024)]] = Field(default_factory=dict)
    """Of a `module` by default, in each profile; searchers over modules need it."""
    hyperparameters: StrictBool = False
    """A `module` may set the task's hyperparameters."""

    def admits(self, architecture: Sequence[str]) -> bool:
        """Whether an architecture has as many layers, of the primitives and within the parameters, as are asked for."""
        return (
            len(architecture) == self.layers
            and set(architecture) <= set(self.primitives)
            and (self.most_parameters is None or toy_parameters(architecture) <= self.most_parameters)
        )

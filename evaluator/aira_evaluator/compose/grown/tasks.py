"""The two tasks of our own whose submission is a pattern that is trained as a full-size model at toy widths.

`aggregate`: 16 layers, from the scored architectures of a search. Each pattern gets the same training FLOPs, so that no
layer wins by being large: an attention layer trains on more text than an MLP. `scale`: the 23 layers that a searched
pattern is grown to, with at most so many parameters, all on the same text.

Settings that decide a loss are here and nowhere else; what the public data says of them is for agents to read. Not
covered: text, vocabulary and windows, which are those of BabiStories (`compose.text.profiles`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_contract.architectures import Architecture, SubmissionError
from aira_contract.model_sizes import TOY_SCALE, ModelSize, model_size, space_of
from aira_contract.recipes import Recipe, find_recipe
from aira_contract.training_arithmetic import count_layers, flops_per_token, head_flops_per_token, toy_parameters
from aira_evaluator.split_manifest import DataError

ABOUT = "pattern_task.json"
"""In the public data: which task it is of, and what an agent is told in numbers."""
_SCHEMA = 1


@dataclass(frozen=True)
class PatternTask:
    """Everything that decides a loss besides the pattern, the text and the seeds."""

    name: str
    layers: int
    batch_windows: Mapping[str, int]
    """Windows of a step, by profile."""
    flop_budgets: Mapping[str, float] | None = None
    """Training FLOPs by profile, output head included; None to train on all train windows once."""
    most_parameters: int | None = None
    """Without embedding, at toy widths; None for as many as the layers have."""
    base: str | None = None
    """The searched pattern that is to be grown."""

    @property
    def recipe(self) -> Recipe:
        """The recipe whose optimizer and schedule all trainings have."""
        return find_recipe("toy")

    def size(self, architecture: Sequence[str]) -> ModelSize:
        """Return the widths of a pattern's model."""
        return model_size(TOY_SCALE, space_of(architecture))

    def check(self, architecture: Architecture) -> None:
        """Refuse a pattern beyond the budget.

        Raises:
            SubmissionError: it has more parameters than the task admits.
        """
        found = toy_parameters(architecture)
        if self.most_parameters is not None and found > self.most_parameters:
            raise SubmissionError(
                f"{found:,} parameters without embedding, at most {self.most_parameters:,} are allowed"
            )

    def steps(self, architecture: Sequence[str], profile: str, *, windows: int, length: int, vocabulary: int) -> int:
        """Return how many steps a pattern is trained for.

        Args:
            architecture: the pattern's symbols.
            profile: of the data.
            windows: of the train split.
            length: positions of a window.
            vocabulary: token ids.
        """
        batch = self.batch_windows[profile]
        if self.flop_budgets is None:
            return max(1, windows // batch)
        size = self.size(architecture)
        per_token = flops_per_token(count_layers(architecture), size, length) + head_flops_per_token(size, vocabulary)
        return max(1, round(self.flop_budgets[profile] / (per_token * batch * length)))

    def about(self) -> str:
        """Return the text of `ABOUT`."""
        told = {
            "schema": _SCHEMA, "task": self.name, "layers": self.layers, "most_parameters": self.most_parameters,
            "flop_budgets": None if self.flop_budgets is None else dict(self.flop_budgets), "base": self.base,
        }  # fmt: skip
        return json.dumps(told, indent=1) + "\n"


_BATCH = {"cpu": 32, "paper": 128}
PATTERN_TASKS: Mapping[str, PatternTask] = {
    task.name: task
    for task in (
        PatternTask("aggregate", 16, _BATCH, flop_budgets={"cpu": 6e11, "paper": 2e15}),
        # What AIRAhybrid-D was searched as; stretched or stacked to the budget it has 23 layers.
        PatternTask("scale", 23, _BATCH, most_parameters=700_000, base="2Mb-M-Mb-3(M-Mb-M-A)"),
    )
}  # fmt: skip


def is_pattern_task(data: Path) -> bool:
    """Whether a data folder is of one of these tasks."""
    return (data / ABOUT).is_file()


def read_pattern_task(data: Path) -> PatternTask:
    """Return the task that a data folder is of.

    Raises:
        DataError: the folder does not say, or names none that there is.
    """
    try:
        return PATTERN_TASKS[json.loads((data / ABOUT).read_text(encoding="ascii"))["task"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{data / ABOUT} names no task of patterns: {error}") from None

"""Reads scored architectures from a JSON file, for scores that were not made by runs of this harness.

    {"schema": 1, "architectures": [
        {"dataset": "mad", "architecture": "5(2A-M)-A", "score": 0.51, "lower_is_better": false}]}

An architecture is a pattern or a name, such as `airaformer-d` (`aira_contract.presets`). Not covered: run folders, see
`run_scores`.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aira_bench.errors import UsageError
from aira_bench.files import LARGEST, Unacceptable, read_text, reason
from aira_bench.scaling.aggregate import ScoredArchitecture
from aira_bench.scaling.notation import NotationError, read_architecture

_LARGEST_BYTES = 64 << 20


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    dataset: str
    architecture: str
    score: Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
    lower_is_better: bool


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1] = Field(alias="schema")
    architectures: list[_Entry]


def read_scores(path: Path) -> list[ScoredArchitecture]:
    """Read the scored architectures of one file, in its order.

    Raises:
        UsageError: the file cannot be read, breaks the layout above, or holds an unreadable architecture.
    """
    try:
        document = _Document.model_validate_json(read_text(path, _LARGEST_BYTES))
    except (OSError, Unacceptable) as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{path} holds no scores: {where}: {first['msg']}.") from error
    scored = []
    for index, entry in enumerate(document.architectures):
        try:
            pattern = read_architecture(entry.architecture)
        except NotationError as error:
            raise UsageError(f"{path}: architectures.{index}: {error.message}") from error
        scored.append(ScoredArchitecture(entry.dataset, pattern, entry.score, entry.lower_is_better))
    return scored

"""Suites of downstream tasks: TOML files that say which tasks of lm_eval, with how many examples, by which metric.

    schema = 1
    title = "..."
    source = "section 5"            where the paper has it; empty for one's own
    published = ["2", "3"]          tables to stand beside, and in them the column of the average
    average = "avg_acc"
    normalized_average = "avg_acc_norm"
    notes = ["..."]
    [[tasks]]
    name = "ARC-C"                  as it is shown
    lm_eval = "arc_challenge"       the task's name there
    shots = 0                       examples before each question
    metric = "acc"                  whose mean over tasks is the suite's average
    normalized = "acc_norm"         shown beside it, with an average of its own
    chance = 0.25                   what guessing gives, in the metric
    column = "arc_c_acc"            of the published tables
    normalized_column = "arc_c_acc_norm"
    unit = 1.0                      what the metric is multiplied by to be a share
    note = "..."

Keys from `published` on, and a task's last five, may be left out. Two suites are shipped; a folder with `suite.toml`
and lm_eval's task files is one's own. Not covered: carrying a suite out (`aira_evaluator.downstream`).
"""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aira_bench.errors import UsageError
from aira_bench.files import Unacceptable, read_text, reason

FOLDER = Path(__file__).with_name("suites")
FILE = "suite.toml"
_MOST_BYTES = 1 << 20


class SuiteTask(BaseModel):
    """One task of a suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    lm_eval: str
    shots: Annotated[int, Field(ge=0)]
    metric: str
    chance: Annotated[float, Field(ge=0, lt=1)]
    normalized: str | None = None
    column: str | None = None
    normalized_column: str | None = None
    unit: Annotated[float, Field(gt=0)] = 1.0
    note: str = ""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What lm_eval is asked for."""
        return (self.metric,) if self.normalized is None else (self.metric, self.normalized)


class _SuiteFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    version: Annotated[int, Field(alias="schema", ge=1, le=1)]
    title: str
    source: str
    tasks: Annotated[tuple[SuiteTask, ...], Field(min_length=1)]
    published: tuple[str, ...] = ()
    average: str | None = None
    normalized_average: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DownstreamSuite:
    """A suite and where it comes from."""

    name: str
    sha256: str
    """Of the file."""
    folder: Path | None
    """Of lm_eval's task files, where they are not lm_eval's own."""
    title: str
    source: str
    tasks: tuple[SuiteTask, ...]
    published: tuple[str, ...]
    average: str | None
    normalized_average: str | None
    notes: tuple[str, ...]


def shipped_suites() -> tuple[str, ...]:
    """Return the names of the suites that come with the product, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def find_suite(named: str) -> DownstreamSuite:
    """Return a shipped suite by its name, or that of a folder.

    Raises:
        UsageError: there is none, or its file is not one.
    """
    if named in shipped_suites():
        return _read(FOLDER / f"{named}.toml", named, None)
    folder = Path(named)
    if not folder.is_dir():
        raise UsageError(
            f"There is no suite {named!r}; there are {', '.join(shipped_suites())}, and folders with {FILE}.",
            hint="aira-bench scale evaluate --help",
        )
    return _read(folder / FILE, folder.resolve().name, folder)


def _read(path: Path, name: str, folder: Path | None) -> DownstreamSuite:
    try:
        text = read_text(path, _MOST_BYTES)
        found = _SuiteFile.model_validate(tomllib.loads(text))
    except (OSError, Unacceptable) as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{path} is no suite: {where}: {first['msg']}.") from error
    for said, names in (("task of lm_eval", [task.lm_eval for task in found.tasks]),
                        ("name of a task", [task.name for task in found.tasks])):  # fmt: skip
        if len(set(names)) != len(names):
            raise UsageError(f"{path} has a {said} twice.")
    return DownstreamSuite(
        name, hashlib.sha256(text.encode()).hexdigest(), folder, found.title, found.source, found.tasks,
        found.published, found.average, found.normalized_average, found.notes,
    )  # fmt: skip

"""What an evaluation found, as a file beside the training: `downstream/SUITE-step-00071565.json`.

It is written anew after each task, so that one that was cut off goes on where it was. With --limit the name says so.
Scores of different weights, suites, types or versions never stand in one file. Not covered: means over tasks
(`scores`).
"""

import glob
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from aira_bench.errors import RunStateError
from aira_bench.files import Unacceptable, read_text, reason, write_json
from aira_bench.scaling.downstream.suites import DownstreamSuite
from aira_contract.downstream import EvaluatedModel, TaskScores

FOLDER = "downstream"
SCHEMA = 1
_MOST_BYTES = 1 << 24


@dataclass(frozen=True)
class StoredEvaluation:
    """One model on one suite, or on what of it is done."""

    schema: int
    suite: str
    suite_sha256: str
    model: EvaluatedModel
    scores: tuple[TaskScores, ...]

    def of(self, task: str) -> TaskScores | None:
        """Return a task's scores; None where there are none yet."""
        return next((each for each in self.scores if each.task == task), None)

    def with_scores(self, more: TaskScores) -> "StoredEvaluation":
        """Return the evaluation with a task's scores put in."""
        others = tuple(each for each in self.scores if each.task != more.task)
        return StoredEvaluation(self.schema, self.suite, self.suite_sha256, self.model, (*others, more))


_EVALUATIONS = TypeAdapter(StoredEvaluation)


def begun(suite: DownstreamSuite, model: EvaluatedModel, before: Iterable[StoredEvaluation]) -> StoredEvaluation:
    """Return what is gone on with: an evaluation of the same weights, suite, types and versions, or an empty one."""
    for each in before:
        if (each.suite_sha256, each.model) == (suite.sha256, model):
            return each
    return StoredEvaluation(SCHEMA, suite.name, suite.sha256, model, ())


def file_of(folder: Path, suite: DownstreamSuite, model: EvaluatedModel) -> Path:
    """Return where a model's evaluation lies in its training's folder."""
    limited = "" if model.limit is None else f"-limit-{model.limit}"
    return folder / FOLDER / f"{suite.name}-step-{model.step:08}{limited}.json"


def stored(folder: Path, suite: DownstreamSuite | None = None) -> list[StoredEvaluation]:
    """Return all evaluations that lie in a training's folder, or those of one suite, by file name.

    Raises:
        RunStateError: a file cannot be read.
    """
    name = "*" if suite is None else glob.escape(suite.name)
    return [_read(path) for path in sorted((folder / FOLDER).glob(f"{name}-step-*.json"))]


def write(path: Path, evaluation: StoredEvaluation) -> None:
    """Write an evaluation as a whole."""
    path.parent.mkdir(exist_ok=True)
    write_json(path, asdict(evaluation))


def _read(path: Path) -> StoredEvaluation:
    try:
        return _EVALUATIONS.validate_json(read_text(path, _MOST_BYTES))
    except (OSError, Unacceptable) as error:
        raise RunStateError(f"{path} cannot be read: {reason(error)}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RunStateError(f"{path} is no evaluation: {where}: {first['msg']}.") from error

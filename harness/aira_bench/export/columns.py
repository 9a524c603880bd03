"""One row a step: the columns of CSV and Parquet, each written once.

Hidden columns are there only where hidden scores may leave, not as empty ones: whoever gets a file sees from its head
whether it has them.

Not covered: model calls and printed output, which other formats have (docs/formats.md).
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from aira_bench.escaping import csv_cell
from aira_bench.export.steps import ExportedRun, ExportedStep, HiddenScores
from aira_bench.export.texts import bounded
from aira_bench.parquet import Kind, table_bytes
from aira_bench.record.scores import TrustedScore

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class StepColumn:
    """One thing that rows say of a step."""

    name: str
    kind: Kind
    value: Callable[[ExportedRun, ExportedStep], Cell]
    hidden: bool = False
    """It is there only where hidden scores may leave."""


def _hidden(name: str, kind: Kind, value: Callable[[HiddenScores], Cell]) -> StepColumn:
    return StepColumn(name, kind, lambda run, step: None if step.hidden is None else value(step.hidden), hidden=True)


def _score(name: str, kind: Kind, value: Callable[[TrustedScore], Cell]) -> StepColumn:
    return _hidden(name, kind, lambda found: None if found.score is None else value(found.score))


COLUMNS: tuple[StepColumn, ...] = (
    StepColumn("run", "text", lambda run, step: run.name),
    StepColumn("run_id", "text", lambda run, step: run.manifest.run_id),
    StepColumn("task", "text", lambda run, step: run.manifest.task_title),
    StepColumn("metric", "text", lambda run, step: run.manifest.metric),
    StepColumn("lower_is_better", "bool", lambda run, step: run.manifest.lower_is_better),
    StepColumn("profile", "text", lambda run, step: run.manifest.plan.profile),
    StepColumn("agent", "text", lambda run, step: run.manifest.plan.agent),
    StepColumn("scaffold", "text", lambda run, step: run.manifest.plan.scaffold),
    StepColumn("fitness", "text", lambda run, step: run.manifest.plan.fitness),
    StepColumn("seed", "int", lambda run, step: step.seed),
    StepColumn("step", "int", lambda run, step: step.node.step),
    StepColumn("operator", "text", lambda run, step: step.node.operator),
    StepColumn("parents", "text", lambda run, step: " ".join(map(str, step.node.parents))),
    StepColumn("class", "text", lambda run, step: step.node.step_class),
    StepColumn("reason", "text", lambda run, step: step.node.reason),
    StepColumn("search_score", "float", lambda run, step: step.node.fitness),
    StepColumn("search_score_standard_error", "float", lambda run, step: step.node.fitness_standard_error),
    StepColumn("best_search_score", "float", lambda run, step: step.best),
    StepColumn("claimed", "float", lambda run, step: step.node.claimed),
    StepColumn("submitted", "bool", lambda run, step: step.submitted),
    StepColumn("plan", "text", lambda run, step: step.node.plan),
    StepColumn("summary", "text", lambda run, step: step.node.summary),
    StepColumn("canonical", "text", lambda run, step: step.node.canonical),
    StepColumn("code_sha256", "text", lambda run, step: step.node.code_sha256),
    StepColumn("artifact_sha256", "text", lambda run, step: step.node.artifact_sha256),
    StepColumn("attempts", "int", lambda run, step: step.node.attempts),
    StepColumn("started", "text", lambda run, step: step.started),
    StepColumn("ended", "text", lambda run, step: step.line.at),
    StepColumn("model_s", "float", lambda run, step: step.node.timings.model_s),
    StepColumn("execute_s", "float", lambda run, step: step.node.timings.execute_s),
    StepColumn("evaluate_s", "float", lambda run, step: step.node.timings.evaluate_s),
    StepColumn("total_s", "float", lambda run, step: step.node.timings.total_s),
    StepColumn("waited_s", "float", lambda run, step: float(sum(step.node.timings.waited_s.values()))),
    StepColumn("cores", "int", lambda run, step: step.node.cores),
    StepColumn("throttled", "text", lambda run, step: step.node.throttled),
    StepColumn("model_calls", "int", lambda run, step: step.node.model_use.calls),
    StepColumn("input_tokens", "int", lambda run, step: step.node.model_use.input_tokens),
    StepColumn("output_tokens", "int", lambda run, step: step.node.model_use.output_tokens),
    StepColumn("cost_usd", "float", lambda run, step: step.node.model_use.cost_usd),
    StepColumn("models", "text", lambda run, step: " ".join(step.node.model_use.models)),
    _score("validation", "float", lambda score: score.validation),
    _score("validation_standard_error", "float", lambda score: score.validation_standard_error),
    _score("test", "float", lambda score: score.test),
    _score("test_standard_error", "float", lambda score: score.test_standard_error),
    _score("public", "float", lambda score: score.public),
    _score("flags", "text", lambda score: " ".join(score.flags)),
    _score("unranked", "text", lambda score: " ".join(score.unranked)),
    _score("remarks", "text", lambda score: "; ".join(score.remarks)),
    _score("evaluator_version", "text", lambda score: score.evaluator_version),
    _score("evaluation_s", "float", lambda score: score.seconds),
    _score("cached", "bool", lambda score: score.cached),
    _score("synthetic", "bool", lambda score: score.synthetic),
    _hidden("confirmed_mean", "float", lambda found: found.confirmed),
    _hidden("confirmed_sd", "float", lambda found: found.confirmed_deviation),
    _hidden("confirmed_trainings", "int", lambda found: len(found.trainings)),
    _hidden("confirmed_refused", "int", lambda found: len(found.refused)),
    _hidden("overclaim", "float", lambda found: found.overclaim),
)
"""In the order of files; a new one goes to the end of its half."""


def columns_of(*, with_hidden: bool) -> dict[str, Kind]:
    """Return what the columns of a file hold, in order."""
    return {column.name: column.kind for column in COLUMNS if with_hidden or not column.hidden}


def rows_of(run: ExportedRun) -> Iterator[dict[str, Cell]]:
    """Yield a row for each finished step of a run, seed by seed."""
    for step in run.steps:
        yield {
            column.name: _plain(column.kind, column.value(run, step))
            for column in COLUMNS
            if run.with_hidden or not column.hidden
        }


def _plain(kind: Kind, value: Cell) -> Cell:
    if value is None:
        return None
    return bounded(str(value)) if kind == "text" else float(value) if kind == "float" else value


def to_csv(runs: Sequence[ExportedRun]) -> bytes:
    """Return runs as one CSV file: UTF-8, a line a step, no cell that a spreadsheet takes for a formula."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_kinds(runs))
    for run in runs:
        writer.writerows([_csv_cell(value) for value in row.values()] for row in rows_of(run))
    return stream.getvalue().encode()


def to_parquet(runs: Sequence[ExportedRun]) -> bytes:
    """Return runs as one Parquet file, a row a step; a column has one type, whether or not it has any value."""
    return table_bytes(_kinds(runs), [row for run in runs for row in rows_of(run)])


def _kinds(runs: Sequence[ExportedRun]) -> Mapping[str, Kind]:
    return columns_of(with_hidden=any(run.with_hidden for run in runs))


def _csv_cell(value: Cell) -> object:
    return str(value).lower() if isinstance(value, bool) else csv_cell(value)

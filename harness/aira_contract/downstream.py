"""What a downstream evaluation is asked for and answers: by the host, and by the process that has torch and lm_eval.

The request is one JSON document, the answer lines of JSON, each at once: first what is evaluated and with what
(`EvaluatedModel`), then one for each task (`TaskScores`, or `NotEvaluated` with the reason). Not covered: how texts are
scored (`aira_evaluator.downstream`), which tasks make a suite (`aira_bench.scaling.downstream`).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

PROCESS = "aira_evaluator.downstream"
"""The module that evaluates: `python -m` of it reads a request and prints lines."""
DTYPES = ("float32", "bfloat16", "float16")
DEVICES = ("cuda", "cpu")


class DownstreamError(ValueError):
    """A line is not of this form; the message says how."""


@dataclass(frozen=True)
class AskedTask:
    """One task of lm_eval."""

    name: str
    shots: int
    metrics: tuple[str, ...]
    """As lm_eval names them, with its filter behind a comma where that is not `none`."""


@dataclass(frozen=True)
class KnownEvaluation:
    """Tasks that were evaluated earlier, and are left out where all that was said of the model is so again."""

    model: Mapping[str, object]
    """An `EvaluatedModel` as JSON values."""
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class DownstreamRequest:
    """A model and tasks."""

    folder: str
    """Of a training, or one that `aira-bench scale export` made of it."""
    tasks: tuple[AskedTask, ...]
    step: int | None = None
    data: str | None = None
    """The folder of tokens, where the training's own has no copy of its manifest."""
    include: str | None = None
    """A folder of lm_eval's task files; with it the tasks that come with lm_eval are not known."""
    device: str = "cuda"
    dtype: str = "bfloat16"
    """Of products; the residual path and sums are float32."""
    batch_tokens: int = 65_536
    """Positions computed at once, padding among them."""
    limit: int | None = None
    """The most examples of a task, for trying."""
    fewshot_seed: int = 1234
    known: tuple[KnownEvaluation, ...] = ()

    def to_json(self) -> str:
        """Return the document that the process reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "DownstreamRequest":
        """Read the document that `to_json` writes."""
        found = json.loads(text)
        tasks = tuple(AskedTask(**each | {"metrics": tuple(each["metrics"])}) for each in found["tasks"])
        known = tuple(KnownEvaluation(each["model"], tuple(each["tasks"])) for each in found["known"])
        return cls(**found | {"tasks": tasks, "known": known})


@dataclass(frozen=True)
class EvaluatedModel:
    """What is evaluated and with what: scores compare, and evaluations go on, where all of it is equal."""

    pattern: str
    scale: str
    step: int
    steps: int
    weights_sha256: str
    tokenizer_sha256: str
    length: int
    """Positions that a text may have; longer ones lose their beginning."""
    dtype: str
    limit: int | None
    fewshot_seed: int
    versions: Mapping[str, str]
    """Of lm_eval, datasets, transformers, tokenizers and torch."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class MetricEstimate:
    """A metric over the examples of a task."""

    value: float
    stderr: float | None
    """None where neither lm_eval nor we know one."""


@dataclass(frozen=True)
class TaskScores:
    """What one task came to."""

    task: str
    shots: int
    examples: int
    metrics: Mapping[str, MetricEstimate]
    """By the names that were asked for, in lm_eval's units."""
    version: str
    """Of the task, as lm_eval has it."""
    sha256: str
    """Of all examples, prompts and targets, by lm_eval."""
    seconds: float


@dataclass(frozen=True)
class NotEvaluated:
    """A task that could not be had."""

    task: str
    why: str


Line = EvaluatedModel | TaskScores | NotEvaluated
_KINDS: Mapping[str, type[Line]] = {"model": EvaluatedModel, "scores": TaskScores, "not evaluated": NotEvaluated}


def to_line(line: Line) -> str:
    """Return a line of the answer."""
    kind = next(name for name, each in _KINDS.items() if isinstance(line, each))
    return json.dumps({"kind": kind, **asdict(line)})


def read_line(text: str) -> Line:
    """Read a line that `to_line` wrote.

    Raises:
        DownstreamError: it is none.
    """
    try:
        found = json.loads(text)
        kind = _KINDS[found.pop("kind")]
        if "metrics" in found:
            found["metrics"] = {name: MetricEstimate(**each) for name, each in found["metrics"].items()}
        if "notes" in found:
            found["notes"] = tuple(found["notes"])
        return kind(**found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownstreamError(f"no line of an evaluation: {error!r}") from None

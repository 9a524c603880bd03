"""Has another process evaluate a model, and keeps each task's scores as soon as they are there.

The process runs on this machine, in no container: its code is ours and lm_eval's, its model is one that we trained, and
of agents it gets nothing but the string of a pattern, by way of the training's record
(docs/decisions/0073-downstream-beside-the-paper.md). Data sets are downloaded by lm_eval into the cache that HF_HOME
names; with --offline nothing is.
"""

import importlib.util
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.scaling.downstream import evaluated
from aira_bench.scaling.downstream.evaluated import StoredEvaluation
from aira_bench.scaling.downstream.suites import DownstreamSuite
from aira_bench.scaling.torch_process import answers
from aira_contract.downstream import (
    PROCESS,
    AskedTask,
    DownstreamError,
    DownstreamRequest,
    EvaluatedModel,
    KnownEvaluation,
    Line,
    NotEvaluated,
    TaskScores,
    read_line,
)

EXTRA = "aira-bench[downstream]"
_CACHES = ("HF_HOME", "HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_ENDPOINT", "XDG_CACHE_HOME")
_NETWORK = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy", "SSL_CERT_FILE")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}


_HAS_LM_EVAL = "import importlib.util, sys; sys.exit(importlib.util.find_spec('lm_eval') is None)"


@dataclass(frozen=True)
class EvaluationSettings:
    """How models are evaluated."""

    device: str
    python: str | None
    """The interpreter that has torch and lm_eval; None for this one."""
    step: int | None = None
    """Whose checkpoint; None for the newest."""
    data: Path | None = None
    dtype: str | None = None
    """Of products; None for bfloat16 on cuda, and float32 on cpu."""
    batch_tokens: int = 65_536
    """Positions computed at once."""
    limit: int | None = None
    offline: bool = False


def evaluate(
    folder: Path, suite: DownstreamSuite, settings: EvaluationSettings, tell: Callable[[str], object]
) -> tuple[StoredEvaluation, list[NotEvaluated]]:
    """Evaluate one model on what of a suite it has no scores of, and return all there are.

    Args:
        folder: of a training, or one that was exported.
        suite: the tasks.
        settings: how.
        tell: is handed a line for people with each task.

    Raises:
        PrerequisiteError: there is no lm_eval, or the model cannot be had.
        RunStateError: an earlier evaluation cannot be read.
    """
    if settings.python is None:  # another's process says so itself
        require_lm_eval(None)
    before = [each for each in evaluated.stored(folder, suite) if each.suite_sha256 == suite.sha256]
    found: StoredEvaluation | None = None
    missing: list[NotEvaluated] = []
    for line in _lines(_request(folder, suite, settings, before), settings):
        if isinstance(line, EvaluatedModel):
            found, path = evaluated.begun(suite, line, before), evaluated.file_of(folder, suite, line)
            if found.scores:
                tell(f"{folder}: {len(found.scores)} of {len(suite.tasks)} tasks were evaluated before")
            elif path.exists():
                tell(f"{path} is of other weights, settings or versions; it is written anew")
        elif found is None:
            raise UsageError("The process that evaluates told of a task before it told of the model.")
        elif isinstance(line, TaskScores):
            found = found.with_scores(line)
            evaluated.write(evaluated.file_of(folder, suite, found.model), found)
            tell(f"{folder}: {line.task}, {line.examples:,} examples in {line.seconds:,.0f} s")
        else:
            missing.append(line)
    if found is None:
        raise UsageError("The process that evaluates told of no model.")
    return found, missing


def require_lm_eval(python: str | None) -> None:
    """Look whether an interpreter has lm_eval; None is this one.

    Raises:
        PrerequisiteError: it has none, or cannot be started.
    """
    if python is None:
        found = importlib.util.find_spec("lm_eval") is not None
    else:
        try:
            found = subprocess.run([python, "-P", "-c", _HAS_LM_EVAL], check=False).returncode == 0
        except OSError as error:
            raise PrerequisiteError(f"{python} cannot be started: {error.strerror}.", hint="--python PYTHON") from error
    if not found:
        where = "is not installed" if python is None else f"{python} does not have"
        raise PrerequisiteError(
            f"Tasks are those of lm-evaluation-harness, which {where}.", hint=f"pip install '{EXTRA}'"
        )


def _request(
    folder: Path, suite: DownstreamSuite, settings: EvaluationSettings, before: Sequence[StoredEvaluation]
) -> DownstreamRequest:
    return DownstreamRequest(
        folder=str(folder),
        tasks=tuple(AskedTask(task.lm_eval, task.shots, task.metrics) for task in suite.tasks),
        step=settings.step,
        data=None if settings.data is None else str(settings.data),
        include=None if suite.folder is None else str(suite.folder.absolute()),
        device=settings.device,
        dtype=settings.dtype or ("bfloat16" if settings.device == "cuda" else "float32"),
        batch_tokens=settings.batch_tokens,
        limit=settings.limit,
        known=tuple(KnownEvaluation(asdict(each.model), tuple(score.task for score in each.scores)) for each in before),
    )


def _lines(request: DownstreamRequest, settings: EvaluationSettings) -> Iterator[Line]:
    more = {name: os.environ[name] for name in (*_CACHES, *_NETWORK, *_OFFLINE) if name in os.environ}
    more |= {"TOKENIZERS_PARALLELISM": "false"} | (_OFFLINE if settings.offline else {})
    hint = "aira-bench scale evaluate --help"
    for text in answers(PROCESS, request.to_json(), settings.python, hint=hint, more=more):
        try:
            yield read_line(text)
        except DownstreamError as error:
            raise UsageError(f"The process that evaluates answered what it should not: {error}.") from error

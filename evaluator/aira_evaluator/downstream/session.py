"""Evaluates one model on tasks of lm_eval, task by task, so that each result is there as soon as it is known.

Data sets are those that lm_eval's task files name: its own download, into the cache of the `datasets` library. Task
files of a folder may name functions of Python files beside them, which run here: take none from strangers.

Not covered: which tasks belong together, and means over them.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import stdev
from typing import Any

import torch
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from aira_contract.downstream import (
    AskedTask,
    DownstreamRequest,
    EvaluatedModel,
    Line,
    MetricEstimate,
    NotEvaluated,
    TaskScores,
)
from aira_evaluator.downstream.lm_eval_model import LmEvalModel
from aira_evaluator.downstream.scoring import TextScorer
from aira_evaluator.pretrain.export import read_model
from aira_evaluator.pretrain.trained import TrainedFolder, TrainedTokens, weights_sha256
from aira_evaluator.split_manifest import DataError
from aira_kernels.hugging_face.folder import CONFIG
from aira_kernels.large import LargeLanguageModel

PACKAGES = ("lm_eval", "datasets", "transformers", "tokenizers", "torch")
SQUAD = "squadv2"
BOOTSTRAP_ROUNDS = 1000
"""Of lm_eval, for the error of a metric that is no mean, as a perplexity."""


def evaluate_all(request: DownstreamRequest, tell: Callable[[Line], None]) -> None:
    """Tell of the model, then of each task.

    Raises:
        DataError: the folder holds no model of a training, or no tokenizer.
    """
    trained = TrainedFolder(Path(request.folder))
    tokens = trained.tokens(None if request.data is None else Path(request.data))
    if tokens is None or tokens.tokenizer_file is None:
        (why,) = [note for note in trained.notes(tokens, trained.steps) if note.startswith("No tokenizer")]
        raise DataError(why)
    model, step = _model(trained, request.step)
    about = _about(request, trained, tokens, model, step)
    tell(about)
    said = json.loads(json.dumps(asdict(about)))
    done = {name for each in request.known if each.model == said for name in each.tasks}
    scorer = TextScorer(
        model.float().to(request.device), length=trained.length, batch_tokens=request.batch_tokens,
        dtype=getattr(torch, request.dtype),
    )  # fmt: skip
    ours = LmEvalModel(scorer, tokens.tokenizer_file, tokens.separator)
    tasks = [task for task in request.tasks if task.name not in done]
    manager = TaskManager(include_path=request.include, include_defaults=request.include is None) if tasks else None
    for task in tasks:
        try:
            tell(evaluate_task(ours, task, request, manager))
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a data set, a task file or its metric raises; the others have their turn
            tell(NotEvaluated(task.name, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:500]))


def evaluate_task(model: LM, task: AskedTask, request: DownstreamRequest, manager: TaskManager) -> TaskScores:
    """Return one task's scores by any model of lm_eval.

    Raises:
        ValueError: lm_eval showed another number of examples before the question than was asked for, or has no such
            metric.
    """
    started_s = time.monotonic()
    loaded = manager.load([task.name])
    for each in loaded["tasks"].values():
        # As lm_eval's own `simple_evaluate`, which would also list every package of this environment for each task.
        each.set_config(key="num_fewshot", value=task.shots)
        each.set_fewshot_seed(seed=request.fewshot_seed)
    found = evaluate(model, loaded, limit=request.limit, bootstrap_iters=BOOTSTRAP_ROUNDS, log_samples=True)
    assert found is not None, "there is one process"
    if found["n-shot"][task.name] != task.shots:
        raise ValueError(f"lm_eval shows {found['n-shot'][task.name]} examples before a question, not {task.shots}")
    samples = found["samples"][task.name]
    return TaskScores(
        task=task.name,
        shots=task.shots,
        examples=int(found["n-samples"][task.name]["effective"]),
        metrics={name: _estimate(task.name, name, found["results"][task.name], samples) for name in task.metrics},
        version=str(found["versions"].get(task.name)),
        sha256=_samples_sha256(samples),
        seconds=time.monotonic() - started_s,
    )


def _model(trained: TrainedFolder, step: int | None) -> tuple[LargeLanguageModel, int]:
    """The model of a folder, of either kind, and after which step it is."""
    if not (trained.folder / CONFIG).is_file():
        whole = trained.newest(step)
        return trained.model(whole), whole
    exported = int(trained.record["steps_done"])
    if step not in (None, exported):
        raise DataError(f"{trained.folder} is the model of step {exported}, not of {step}")
    return read_model(trained.folder), exported


def _about(
    request: DownstreamRequest, trained: TrainedFolder, tokens: TrainedTokens, model: LargeLanguageModel, step: int
) -> EvaluatedModel:
    assert tokens.tokenizer_file is not None
    return EvaluatedModel(
        pattern=trained.pattern,
        scale=trained.scale,
        step=step,
        steps=trained.steps,
        weights_sha256=weights_sha256(model),
        tokenizer_sha256=hashlib.sha256(tokens.tokenizer_file.read_bytes()).hexdigest(),
        length=trained.length,
        dtype=request.dtype,
        limit=request.limit,
        fewshot_seed=request.fewshot_seed,
        versions={name: version(name) for name in PACKAGES},
        notes=trained.notes(tokens, step),
    )


def _estimate(task: str, metric: str, results: Mapping[str, Any], samples: list[Mapping[str, Any]]) -> MetricEstimate:
    name, _, chosen = metric.partition(",")
    key = f"{name},{chosen or 'none'}"
    if key not in results:
        known = ", ".join(sorted(each for each in results if "," in each and "_stderr," not in each))
        raise ValueError(f"no metric {metric!r}; there is {known}")
    stderr = results.get(f"{name}_stderr,{chosen or 'none'}")
    value = float(results[key])
    if not isinstance(stderr, int | float) and (task, name) == (SQUAD, "f1"):
        stderr = _squad_stderr(value, [sample["f1"] for sample in samples])
    return MetricEstimate(value, float(stderr) if isinstance(stderr, int | float) else None)


def _squad_stderr(value: float, samples: list[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> float | None:
    """The standard error of SQuADv2's F1, which lm_eval has none of: from each question's, if their mean is its F1."""
    from transformers.data.metrics.squad_metrics import compute_f1, normalize_answer

    parts = []
    for prediction, reference in samples:
        golds = [text for text in reference["answers"]["text"] if normalize_answer(text)] or [""]
        parts.append(100 * max(float(compute_f1(gold, prediction["prediction_text"])) for gold in golds))
    if len(parts) < 2 or abs(sum(parts) / len(parts) - value) > 1e-6:
        return None
    return float(stdev(parts)) / math.sqrt(len(parts))


def _samples_sha256(samples: list[Mapping[str, Any]]) -> str:
    """The hash of what lm_eval asked: of each example its own hashes of document, prompt and target, in their order."""
    digest = hashlib.sha256()
    for sample in sorted(samples, key=lambda sample: int(sample["doc_id"])):
        digest.update("".join(str(sample[name]) for name in ("doc_hash", "prompt_hash", "target_hash")).encode())
    return digest.hexdigest()

"""Trajectories in ATIF, the Agent Trajectory Interchange Format, version 1.7 (Harbor's RFC 0001): a document a seed.

A seed is a session. Each of its steps is told in order: what the model was asked (`user`, before the first question of
a kind its `system` prompt), what it answered (`agent`, one inference each), then the solution's run: a step of the
agent without any inference, whose one tool call holds the code and whose observation is what the code printed and what
became of the step. Scores stand in `extra`, by their names.

Not covered: token ids and log probabilities, which records do not hold.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from aira_bench.export.calls import CallFacts, call_facts
from aira_bench.export.steps import ExportedRun, ExportedSeed, ExportedStep, canonical_json, scores_of
from aira_bench.export.texts import bounded, whole
from aira_bench.llm.recording import Exchange
from aira_bench.version import __version__

SCHEMA = "ATIF-v1.7"
RUN_TOOL = "run_solution"
_TOOL = {
    "type": "function",
    "function": {
        "name": RUN_TOOL,
        "description": "Run a solution in a fresh container without network, then have what it left scored.",
        "parameters": {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]},
    },
}
_NOTES = (
    "One session is one seed of a search. Steps without inference (llm_call_count 0) are runs of solutions; extra.step "
    "is the search's own step, extra.scores has what is known of it."
)
Document = dict[str, object]


def seed_document(run: ExportedRun, seed: ExportedSeed) -> bytes | None:
    """Return the trajectory of a seed; None of one that has no step, since a trajectory has at least one.

    Raises:
        RunStateError: a file of a step is not what was recorded.
    """
    told = [part for step in seed.steps for part in _parts(run, step)]
    if not told:
        return None
    manifest = run.manifest
    models = sorted({model for step in seed.steps for model in step.node.model_use.models})
    agent: Document = {"name": whole(manifest.plan.agent), "version": _version(run)}
    agent |= {"model_name": whole(models[0])} if models else {}
    agent |= {"tool_definitions": [_TOOL], "extra": {"scaffold": manifest.plan.scaffold, "models": models}}
    return canonical_json(
        {
            "schema_version": SCHEMA,
            "session_id": f"{manifest.run_id}-seed-{seed.seed}",
            "trajectory_id": f"{manifest.run_id}-seed-{seed.seed}",
            "agent": agent,
            "steps": [{"step_id": number, **part} for number, part in enumerate(told, start=1)],
            "notes": _NOTES,
            "final_metrics": _final(seed, len(told)),
            "extra": {
                "run": whole(run.name),
                "run_id": manifest.run_id,
                "manifest_sha256": run.manifest_sha256,
                "task": whole(manifest.task_title),
                "metric": whole(manifest.metric),
                "lower_is_better": manifest.lower_is_better,
                "profile": manifest.plan.profile,
                "seed": seed.seed,
                "ended": seed.ended,
                "submitted_step": seed.submitted,
            },
        }
    )


def _version(run: ExportedRun) -> str:
    """Of whoever ran the agent: the agents of this package have its version."""
    return whole(run.manifest.aira_bench or __version__)


def _parts(run: ExportedRun, step: ExportedStep) -> Iterator[Document]:
    told_system = None
    for number, exchange in enumerate(step.exchanges()):
        facts = call_facts(exchange.completion)
        asked_at = _time(facts.started or step.started)
        if exchange.request.system and exchange.request.system != told_system:
            told_system = exchange.request.system
            yield _timed(asked_at, {"source": "system", "message": bounded(told_system)})
        *before, last = exchange.request.messages
        for message in before:
            copied = {"source": "user" if message.role == "user" else "agent", "message": bounded(message.text)}
            yield _timed(asked_at, {**copied, "is_copied_context": True})
        yield _timed(asked_at, {"source": "user", "message": bounded(last.text)})
        yield _answer(step, exchange, facts, number)
    yield _run_of_solution(run, step)


def _answer(step: ExportedStep, exchange: Exchange, facts: CallFacts, number: int) -> Document:
    completion, usage = exchange.completion, exchange.completion.usage
    counts: Mapping[str, int | float | None] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "cost_usd": completion.cost_usd,
    }
    metrics: Document = {name: value for name, value in counts.items() if value is not None}
    extra = {"reasoning_tokens": usage.reasoning_tokens, "cache_write_tokens": usage.cache_write_tokens}
    metrics["extra"] = {name: value for name, value in extra.items() if value is not None} | {
        "latency_s": completion.latency_s,
        "attempts": completion.attempts,
    }
    answer: Document = {"source": "agent", "model_name": whole(completion.model_id)}
    answer |= {"message": bounded(completion.text)}
    answer |= {"reasoning_content": bounded(facts.reasoning)} if facts.reasoning else {}
    answer |= {"metrics": metrics, "llm_call_count": 1}
    answer["extra"] = {"step": step.node.step, "call": number, "finish_reason": completion.finish_reason}
    return _timed(_time(facts.ended or facts.started or step.started), answer)


def _run_of_solution(run: ExportedRun, step: ExportedStep) -> Document:
    node, call = step.node, f"step-{step.node.step}"
    code, printed, errors = (step.text(name) for name in ("solution.py", "stdout.txt", "stderr.txt"))
    results: list[Document] = [
        {"source_call_id": call, "content": bounded(printed), "extra": {"stream": "stdout"}},
        {"source_call_id": call, "content": bounded(errors), "extra": {"stream": "stderr"}},
        {"source_call_id": call, "content": bounded(f"{node.step_class}. {node.reason}".strip(". "))},
    ]
    return _timed(
        _time(step.line.at),
        {
            "source": "agent",
            "message": bounded(node.plan),
            "tool_calls": [
                {"tool_call_id": call, "function_name": RUN_TOOL, "arguments": {"code": bounded(code)}},
            ],
            "observation": {"results": [each for each in results if each["content"]]},
            "llm_call_count": 0,
            "extra": _facts(run, step),
        },
    )


def _facts(run: ExportedRun, step: ExportedStep) -> Document:
    node = step.node
    return {
        "step": node.step,
        "operator": node.operator,
        "parents": [*node.parents],
        "class": node.step_class,
        "submitted": step.submitted,
        "canonical": None if node.canonical is None else bounded(node.canonical),
        "summary": bounded(node.summary),
        "scores": scores_of(step),
        "seconds": {
            "model": node.timings.model_s,
            "execute": node.timings.execute_s,
            "evaluate": node.timings.evaluate_s,
            "total": node.timings.total_s,
        },
    }


def _final(seed: ExportedSeed, total: int) -> Document:
    uses = [step.node.model_use for step in seed.steps]
    tokens_in, tokens_out = [use.input_tokens for use in uses], [use.output_tokens for use in uses]
    costs = [use.cost_usd for use in uses]
    final: Document = {"total_steps": total}
    if None not in tokens_in:
        final["total_prompt_tokens"] = sum(filter(None, tokens_in))
    if None not in tokens_out:
        final["total_completion_tokens"] = sum(filter(None, tokens_out))
    if None not in costs:
        final["total_cost_usd"] = float(sum(filter(None, costs)))
    return final | {"extra": {"search_steps": len(seed.steps)}}


def _timed(at: str | None, part: Document) -> Document:
    return part if at is None else {"timestamp": at, **part}


def _time(at: str | None) -> str | None:
    """A time as ISO 8601; None for a record's text that is none."""
    try:
        return None if at is None else datetime.fromisoformat(at).isoformat()
    except ValueError:
        return None
